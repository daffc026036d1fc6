"""The README examples of Flask-Sock and flask-sse, ported: not longer, and they do the same."""

from __future__ import annotations

import ast

from servers import wait_for
from websockets.sync.client import connect

from flask_rawsocket.testing import RawSocketServer

FLASK_SOCK = """
from flask import Flask, render_template
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)

@app.route('/')
def index():
    return render_template('index.html')

@sock.route('/echo')
def echo(ws):
    while True:
        data = ws.receive()
        ws.send(data)
"""

OURS_FOR_FLASK_SOCK = """
from flask import Flask, render_template
from flask_rawsocket import RawSocket

app = Flask(__name__)
rawsocket = RawSocket(app)

@app.route('/')
def index():
    return render_template('index.html')

@app.route('/echo', websocket=True)
@rawsocket.websocket_view
async def echo(ws):
    async for data in ws:
        await ws.send(data)
"""

FLASK_SSE = """
from flask import Flask, render_template
from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = "redis://localhost"
app.register_blueprint(sse, url_prefix='/stream')

@app.route('/')
def index():
    return render_template("index.html")

@app.route('/hello')
def publish_hello():
    sse.publish({"message": "Hello!"}, type='greeting')
    return "Message sent!"
"""

OURS_FOR_FLASK_SSE = """
from flask import Flask, render_template
from flask_rawsocket import RawSocket

app = Flask(__name__)
rawsocket = RawSocket(app)
app.add_url_rule("/stream", "stream", lambda: rawsocket.events(rawsocket.group("all").join()))

@app.route('/')
def index():
    return render_template("index.html")

@app.route('/hello')
def publish_hello():
    rawsocket.group("all").send({"message": "Hello!"}, event='greeting')
    return "Message sent!"
"""


def lines(source):
    """Count the lines that are not empty; the source must be Python."""
    ast.parse(source)
    return sum(bool(line.strip()) for line in source.splitlines())


def test_they_are_not_longer():
    """Line by line."""
    assert lines(OURS_FOR_FLASK_SOCK) <= lines(FLASK_SOCK)
    assert lines(OURS_FOR_FLASK_SSE) <= lines(FLASK_SSE)


def test_flask_sock():
    """What is said comes back, as often as one likes."""
    names = {"__name__": "flask_sock_port"}
    exec(OURS_FOR_FLASK_SOCK, names)
    with (
        RawSocketServer(names["app"]) as server,
        connect(f"ws://127.0.0.1:{server.port}/echo", proxy=None) as ws,
    ):
        for message in ("one", b"two", "three"):
            ws.send(message)
            assert ws.recv() == message


def test_flask_sse():
    """What is published is what the stream has."""
    names = {"__name__": "flask_sse_port"}
    exec(OURS_FOR_FLASK_SSE, names)
    client = names["app"].test_client()
    response = client.get("/stream", buffered=False)
    group = names["rawsocket"].group("all")
    wait_for(lambda: len(group) == 1, "the member")
    assert client.get("/hello").text == "Message sent!"
    group.close()
    event, ident, data = response.text.strip().split("\n")
    assert (event, ident[:4], data) == ("event: greeting", "id: ", 'data: {"message": "Hello!"}')
