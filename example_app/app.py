"""A page that shows the connection under it, the other live ones, a chat and a slow view.

``make demo`` runs it, over TCP, TLS and a UNIX socket (``__main__.py``).
"""

import os

from flask import Flask, render_template, request

from example_app.addresses import commands
from example_app.chat import chat
from example_app.extension import rawsocket
from example_app.facts import facts
from example_app.feed import feed
from example_app.overview import count_busy_threads, overview
from example_app.slow import slow

app = Flask(__name__)
# Anybody's domain can be made to resolve to this address, and its page would be of the same origin
# as this one (DNS rebinding).  Flask 3.1 and newer refuse other hosts with 400.
app.config["TRUSTED_HOSTS"] = ["localhost", "127.0.0.1", "[::1]"]
app.config["TRUSTED_HOSTS"] += os.environ.get("DEMO_HOSTS", "").split()
rawsocket.init_app(app)
app.register_blueprint(chat)
app.register_blueprint(feed)
app.register_blueprint(slow)
count_busy_threads(app)


@app.get("/")
def index():
    addresses = commands({"DEMO_URL": request.host_url} | os.environ)
    certificate = {name: os.environ.get(f"DEMO_{name.upper()}") for name in ("certificate", "key")}
    now = overview(rawsocket.current_conn)
    return render_template("index.html", addresses=addresses, shown=certificate, **now)


@app.get("/api/connection")
def connection():
    return facts(rawsocket.current_conn)


@app.get("/api/connections")
def connections():
    return overview(rawsocket.current_conn, most=None)


@app.after_request
def only_from_here(response):
    """Let the page load nothing from anywhere else, and run no script but the example's files."""
    response.headers["Content-Security-Policy"] = "default-src 'self'; img-src data:"
    return response
