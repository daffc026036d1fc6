"""A page that shows the connection under it, the other live ones, a chat and a slow view.

``make demo`` runs it, on a TCP port and on a UNIX socket.
"""

import os
import threading
from collections import Counter, deque

from flask import Flask, g, render_template

from example_app.chat import chat, room
from example_app.extension import rawsocket
from example_app.slow import counts, slow
from flask_rawsocket import ConnState

app = Flask(__name__)
# Anybody's domain can be made to resolve to this address, and its page would be of the same origin
# as this one (DNS rebinding).  Flask 3.1 and newer refuse other hosts with 400.
app.config["TRUSTED_HOSTS"] = ["localhost", "127.0.0.1", "[::1]"]
app.config["TRUSTED_HOSTS"] += os.environ.get("DEMO_HOSTS", "").split()
rawsocket.init_app(app)
app.register_blueprint(chat)
app.register_blueprint(slow)

busy = Counter(threads=0)
"""How many threads are in views: a stream or a member of the chat holds none."""
_lock = threading.Lock()
"""Guards `busy`."""

closed = deque(maxlen=20)
"""The connections that ended last, the most recent one first."""


@rawsocket.on_state_change(ConnState.CLOSED)
def remember(conn, _old, _new):
    closed.appendleft(rawsocket.describe(conn))


@app.before_request
def begin():
    g.holds_thread = True
    with _lock:
        busy.update(threads=1)


@app.teardown_request
def end(_exc):
    if g.pop("holds_thread", False):
        with _lock:
            busy.update(threads=-1)


def overview():
    """Return this request's connection, and what the process knows of the others."""
    return rawsocket.snapshot() | {
        "current": rawsocket.describe(rawsocket.current_conn),
        "closed": list(closed),
        "members": len(room),
        "busy": busy["threads"],
        "work": dict(counts),
    }


@app.get("/")
def index():
    return render_template("index.html", **overview())


@app.get("/api/connection")
def connection():
    return rawsocket.describe(rawsocket.current_conn)


@app.get("/api/connections")
def connections():
    return overview()
