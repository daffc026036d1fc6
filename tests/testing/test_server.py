"""`RawSocketServer` and the clients that it makes: real requests to a real server, in a thread."""

from __future__ import annotations

import threading
import urllib.request

import pytest
from flask import Flask, Response, request, session

from flask_rawsocket import CloseReason, RawSocket, current_conn
from flask_rawsocket.testing import RawSocketServer, wait_for

SERVED = [
    pytest.param(marks=pytest.mark.rawsocket_server(*args, **kwargs), id=name)
    for name, args, kwargs in [
        ("tcp", (), {}),
        ("unix", ("unix",), {}),
        ("tls", (), {"tls": True}),
    ]
]


@pytest.fixture
def seen():
    """What the hooks have heard."""
    return []


@pytest.fixture
def app(seen):  # noqa: C901  likewise
    """An application of a user's."""
    app = Flask("user")
    app.testing = True
    app.secret_key = "test"
    app.config["RAWSOCKET_HEADER_TIMEOUT"] = 0.3
    rawsocket = RawSocket(app)

    @rawsocket.on_state_change
    def changed(conn, old, new):
        seen.append(new.name[0] + (f" {conn.close_reason.group.name}" if conn.close_reason else ""))

    @rawsocket.on_shutdown
    def stopping():
        seen.append("shutdown")

    @app.route("/", methods=["GET", "POST"])
    def index():
        session["visits"] = session.get("visits", 0) + 1
        return {
            "key": current_conn.key,
            "is_unix": current_conn.is_unix,
            "scheme": request.scheme,
            "visits": session["visits"],
            "body": request.get_data(as_text=True),
            "query": request.query_string.decode(),
        }

    @app.get("/parts")
    def parts():
        conn = rawsocket.current_conn

        def made():
            for number in range(1000):
                yield f"part {number}\n"
                conn.wait_disconnected(0.001)

        return Response(rawsocket.until_disconnected(made()))

    @app.get("/work")
    @rawsocket.stop_when_disconnected()
    def work():
        for _ in range(1000):
            rawsocket.checkpoint()
            current_conn.wait_disconnected(0.01)
        return "done"

    @app.get("/upgrade")
    def upgrade():
        with current_conn.upgrade("shout") as stream:
            stream.sendall(b"hello")
            stream.sendall(stream.recv(10).upper())
        return ""

    @app.get("/much")
    def much():
        current_conn.set_deadlines(write=0.3)
        return b"x" * 10_000_000

    return app


def served(*cases):
    """Run a test over each of the transports."""
    return pytest.mark.parametrize((), cases or SERVED)


@served()
def test_requests(rawsocket_server):
    """They are those of Flask's client, cookies and bodies included."""
    client = rawsocket_server.connect()
    found = client.post("/?a=1&b=%20", data="bödy").json
    assert found["query"] == "a=1&b=%20"
    assert found["body"] == "bödy"
    assert found["visits"] == 1
    assert found["is_unix"] == (rawsocket_server.path is not None)
    assert found["scheme"] == ("https" if rawsocket_server.url.startswith("https") else "http")
    assert client.get("/").json["visits"] == 2
    assert client.head("/").data == b""
    assert client.get("/none").status_code == 404


def test_a_client_of_ones_own(rawsocket_server):
    """The server has an address."""
    with urllib.request.urlopen(f"{rawsocket_server.url}/?x=1") as response:
        assert b'"query":"x=1"' in response.read()
    assert f":{rawsocket_server.port}" in repr(rawsocket_server)


@served()
@pytest.mark.parametrize("verb", ["leave", "reset", "half_close"])
def test_a_client_that_leaves(rawsocket_server, seen, verb):
    """The view is stopped, and the hooks hear why the connection ended."""
    client = rawsocket_server.connect()
    client.send_request("/work")
    wait_for(lambda: "A" in seen, "the request")
    getattr(client.peer, verb)()
    if verb == "half_close":
        assert client.read_response().status_code == 400  # ClientDisconnected
    rawsocket_server.wait_closed()
    assert seen[:2] == ["N", "A"]
    assert seen[2] in {"C CLIENT", "C AFTER_RESPONSE"}


@served()
def test_a_stream(rawsocket_server, seen):
    """Its parts come one by one, and it stops when its client leaves."""
    client = rawsocket_server.connect()
    response = client.get("/parts")
    assert next(response.iter_encoded()).startswith(b"part 0\n")
    client.peer.leave()
    rawsocket_server.wait_closed()
    assert seen[:2] == ["N", "A"]
    assert seen[2] in {"C CLIENT", "C APP"}  # the stream ends it, too, if it is the first to notice


def test_a_stream_that_is_not_read(rawsocket_server):
    """Another request on the same connection is a mistake of the test's, and says so."""
    client = rawsocket_server.connect()
    client.send_request("/parts")
    response = client.read_response()
    client._link._has_ended = False
    with pytest.raises(RuntimeError, match="has not been read to its end: use two clients"):
        client.get("/")
    response.close()


@served()
def test_upgrade(rawsocket_server, seen):
    """What follows the 101 can be read and answered."""
    client = rawsocket_server.connect()
    assert client.get("/upgrade").status_code == 101
    assert client.peer.recv(5) == b"hello"
    client.peer.send(b"you")
    assert client.peer.recv_all() == b"YOU"
    rawsocket_server.wait_closed()
    assert seen == ["N", "A", "H", "C APP"]


@served()
def test_dribble(rawsocket_server, seen):
    """A head that takes too long is answered, and no more of it is sent."""
    client = rawsocket_server.connect()
    head = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
    assert 0 < client.peer.dribble(head, interval=0.05) < len(head)
    assert client.read_response().status_code == 408
    rawsocket_server.wait_closed()
    assert seen[:2] == ["N", "A"]


def test_dribble_in_time(rawsocket_server):
    """All of it is sent where the server takes it."""
    client = rawsocket_server.connect()
    head = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
    assert client.peer.dribble(head, interval=0) == len(head)
    assert client.read_response().status_code == 200


@served(*SERVED[:2])
def test_stall(rawsocket_server, seen):
    """The server's write waits, and is given up at the view's deadline."""
    client = rawsocket_server.connect()
    client.peer.stall()
    client.send_request("/much")
    rawsocket_server.wait_closed()
    assert seen[:2] == ["N", "A"]
    assert seen[2].startswith("C ")


def test_half_a_head(rawsocket_server, seen):
    """So is what a client begins and does not end."""
    client = rawsocket_server.connect()
    client.peer.send(b"GET / HT")
    assert client.read_response().status_code == 408
    rawsocket_server.wait_closed()
    assert seen == ["N", "A", "C ERROR"]


def test_close(app, seen):
    """A stop is as that of Ctrl-C, and happens once."""
    with RawSocketServer(app) as server:
        server.connect()
        wait_for(lambda: "N" in seen, "the connection")
    server.close()
    assert seen.count("shutdown") == 1
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_hooks_that_are_slow(app, seen):
    """`wait_closed` waits for them, or says which are running."""
    release = threading.Event()

    @app.extensions["rawsocket"].on_state_change
    def slow(conn, old, new):
        if conn.close_reason.group is CloseReason.CLIENT:
            release.wait(10)

    with RawSocketServer(app) as server:
        server.connect().peer.leave()
        wait_for(lambda: "C CLIENT" in seen, "the end")
        with pytest.raises(AssertionError, match=r"hooks are still running: .*slow"):
            server.wait_closed(timeout=0.1)
        release.set()
        server.wait_closed()


def test_no_such_transport(app):
    """It is named."""
    with pytest.raises(ValueError, match="one of tcp, unix, not 'udp'"):
        RawSocketServer(app, "udp")
