"""Streams and WebSockets in a user's own tests."""

from __future__ import annotations

import pytest
from flask import Flask
from websockets.sync.client import connect

from flask_rawsocket import RawSocket
from flask_rawsocket.testing import wait_for

rawsocket = RawSocket()


@pytest.fixture
def app():
    """An application of a user's."""
    app = Flask("user")
    app.testing = True
    rawsocket.init_app(app)

    @app.get("/events/<room>")
    def events(room):
        return rawsocket.events(rawsocket.group(room).join())

    @app.get("/csv")
    def csv():
        async def rows():
            for number in range(3):
                yield f"{number}\n"

        return rawsocket.stream(rows(), mimetype="text/csv")

    @app.route("/chat", websocket=True)
    def chat():
        async def talk(ws):
            async for message in ws:
                await ws.send(message.upper())

        return rawsocket.websocket(talk)

    return app


@pytest.fixture(params=["client", "server"])
def client(request):
    """Each of the two clients."""
    if request.param == "client":
        return request.getfixturevalue("rawsocket_client")
    return request.getfixturevalue("rawsocket_server").connect()


def test_events(client):
    """They are read as they come; when the client leaves, the group is empty."""
    response = client.get("/events/lobby")
    assert response.mimetype == "text/event-stream"
    wait_for(lambda: len(rawsocket.group("lobby")) == 1, "the member")
    rawsocket.group("lobby").send({"text": "hi"})
    assert b'"hi"' in next(response.iter_encoded())
    client.peer.leave()
    wait_for(lambda: len(rawsocket.group("lobby")) == 0, "its end")


def test_a_body(client):
    """A stream that ends is a body."""
    response = client.get("/csv")
    assert (response.mimetype, response.text) == ("text/csv", "0\n1\n2\n")


def test_a_websocket(rawsocket_server):
    """A client of WebSockets talks to the server."""
    with connect(f"{rawsocket_server.url}/chat".replace("http", "ws")) as chat:
        chat.send("hello")
        assert chat.recv() == "HELLO"
