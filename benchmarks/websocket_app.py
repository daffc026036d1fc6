"""The applications of ``websocket_crowd.py``: one echo, served by the loop or by Flask-Sock.

Both are the application of ``app.py`` with one more route, and both frame with wsproto: under
Flask-Sock it is simple-websocket that uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import app as apps
from flask import request
from wsproto import connection as websocket
from wsproto import events
from wsproto.utilities import generate_accept_token

from flask_rawsocket import current_conn

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from flask import Flask
    from simple_websocket import Server

PATH = "/echo"


def hijacked() -> Flask:
    """Make the application whose view leaves its connection to the loop and returns."""
    app = apps.with_rawsocket()

    @app.get(PATH, websocket=True)
    def echo() -> str:
        key = request.headers["Sec-WebSocket-Key"]
        accept = generate_accept_token(key.encode()).decode()
        headers = {"Sec-WebSocket-Accept": accept}
        current_conn.hijack_async(_echo_messages, protocol="websocket", headers=headers)
        return ""

    return app


async def _echo_messages(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    frames = websocket.Connection(websocket.ConnectionType.SERVER)
    while frames.state is not websocket.ConnectionState.CLOSED:
        frames.receive_data(await reader.read(4096) or None)
        for event in frames.events():
            if isinstance(event, events.Message):
                writer.write(frames.send(event))
            elif isinstance(event, events.CloseConnection) and _asked_for(frames):
                writer.write(frames.send(event.response()))
        await writer.drain()


def _asked_for(frames: websocket.Connection) -> bool:
    """Tell whether the peer's close frame waits for ours; without one it has just left."""
    return frames.state is websocket.ConnectionState.REMOTE_CLOSING


def flask_sock() -> Flask:
    """Make the application whose view holds its thread for as long as the WebSocket lives."""
    from flask_sock import Sock  # noqa: PLC0415  # the other factory runs without it

    app = apps.flask_alone()

    @Sock(app).route(PATH)
    def echo(ws: Server) -> None:
        while True:
            ws.send(ws.receive())

    return app


#: What gunicorn may be given, by its name in this module.
FACTORIES: dict[str, Callable[[], Flask]] = {"hijacked": hijacked, "flask_sock": flask_sock}
