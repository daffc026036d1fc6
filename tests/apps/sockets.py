"""The contract's application with WebSockets: Flask-Sock's, as anybody writes them, and ours."""

import threading
from contextlib import suppress

from contract import app
from flask import request
from flask_sock import Sock
from wsproto import connection as websocket
from wsproto import events
from wsproto.utilities import generate_accept_token

from flask_rawsocket import ConnectionBrokenError, current_conn

sock = Sock(app)


@sock.route("/sock/echo")
def echo(ws):
    while True:
        data = ws.receive()
        ws.send(data)


@sock.route("/sock/close")
def say_goodbye(ws):
    ws.send(ws.receive())
    ws.close(4000, "enough")


@sock.route("/sock/end")
def end_first(ws):
    """End before the peer does: Flask-Sock says goodbye, its other thread closes the socket."""


def accept():
    key = request.headers["Sec-WebSocket-Key"]
    return {"Sec-WebSocket-Accept": generate_accept_token(key.encode()).decode()}


def answers(frames, data):
    """Give what is to be sent when `data` has come."""
    frames.receive_data(data or None)
    for event in frames.events():
        if isinstance(event, events.Message):
            yield frames.send(event)
        elif isinstance(event, events.Ping) or (
            isinstance(event, events.CloseConnection)
            and frames.state is websocket.ConnectionState.REMOTE_CLOSING
        ):
            yield frames.send(event.response())


@app.get("/upgrade/echo", websocket=True)
def upgrade_echo():
    stream = current_conn.upgrade("websocket", accept())

    def serve():
        frames = websocket.Connection(websocket.ConnectionType.SERVER)
        with stream, suppress(ConnectionBrokenError):
            while frames.state is not websocket.ConnectionState.CLOSED:
                for data in answers(frames, stream.recv(65536)):
                    stream.sendall(data)

    threading.Thread(target=serve).start()
    return ""


@app.get("/async/echo", websocket=True)
def async_echo():
    async def serve(reader, writer):
        frames = websocket.Connection(websocket.ConnectionType.SERVER)
        with suppress(ConnectionError):
            while frames.state is not websocket.ConnectionState.CLOSED:
                for data in answers(frames, await reader.read(65536)):
                    writer.write(data)
                await writer.drain()

    current_conn.hijack_async(serve, protocol="websocket", headers=accept())
    return ""
