"""`RawSocket` and what it hands out, where no server is needed."""

from __future__ import annotations

import socket

import pytest
from flask import Flask

from flask_rawsocket import NoConnectionError, RawSocket, current_conn
from flask_rawsocket.tracker import ConnectionTracker


@pytest.fixture
def pair():
    """Two connected sockets."""
    with socket.socket() as listening, socket.socket() as client:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        client.connect(listening.getsockname())
        accepted, _ = listening.accept()
        with accepted:
            yield client, accepted


@pytest.mark.parametrize("view", ["values", "items", "keys"])
def test_views_of_the_map_are_snapshots(pair, view):
    """A connection that goes while somebody iterates over the map does no harm."""
    tracker = ConnectionTracker()
    one, two = (
        tracker.opened(sock, sock.family, sock.getpeername(), sock.getsockname()) for sock in pair
    )
    found = iter(getattr(tracker.connections, view)())
    next(found)
    tracker.closed(two)
    assert len(list(found)) <= 1
    tracker.closed(one)


def test_set_up_twice():
    """A second set-up of one application says what to do."""
    app = Flask("twice")
    rawsocket = RawSocket(app)
    assert app.extensions["rawsocket"] is rawsocket
    with pytest.raises(RuntimeError, match="call init_app once"):
        rawsocket.init_app(app)
    with pytest.raises(RuntimeError, match="call init_app once"):
        RawSocket(app)


def test_factory_pattern_and_several_apps():
    """One object may be set up on several applications, each of which finds it."""
    rawsocket = RawSocket()
    apps = Flask("one"), Flask("two")
    for app in apps:
        rawsocket.init_app(app)
    assert [app.extensions["rawsocket"] for app in apps] == [rawsocket, rawsocket]


def test_outside_of_a_request():
    """There is no connection, and the sentence tells the cure."""
    with pytest.raises(NoConnectionError, match="use current_conn in a view"):
        _ = RawSocket(Flask("outside")).current_conn
    with pytest.raises(NoConnectionError, match="use current_conn in a view"):
        _ = current_conn.id


def test_under_the_test_client():
    """Flask's test client has no socket, and the sentence tells which servers have."""
    app = Flask("client")
    RawSocket(app)

    @app.get("/")
    def view():
        with pytest.raises(NoConnectionError, match=r"gunicorn -k flask_rawsocket\.Worker"):
            _ = current_conn.id
        return "told"

    assert app.test_client().get("/").text == "told"
