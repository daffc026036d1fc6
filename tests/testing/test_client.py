"""`RawSocketClient`: Flask's test client with a real connection under each request."""

from __future__ import annotations

import getpass
import os
import threading

import pytest
from flask import Flask, Response, request, session

from flask_rawsocket import (
    CloseReason,
    ConnState,
    NoConnectionError,
    RawSocket,
    current_conn,
)
from flask_rawsocket._tracking.tracker import process_tracker
from flask_rawsocket._tracking.watcher import Watcher
from flask_rawsocket.sockinfo import PeerStatus
from flask_rawsocket.testing import RawSocketClient, wait_for

TRANSPORTS = [("tcp", False), ("unix", False), ("tcp", True)]


@pytest.fixture
def seen():
    """The letters of the states, in the order in which the hooks heard of them."""
    return []


@pytest.fixture
def app(seen):  # noqa: C901, PLR0915  many small views
    """An application of a user's."""
    app = Flask("user")
    app.testing = True
    app.secret_key = "test"
    rawsocket = RawSocket(app)

    @rawsocket.on_state_change
    def changed(conn, old, new):
        seen.append(new.name[0])

    @app.route("/", methods=["GET", "POST"])
    def index():
        conn = rawsocket.current_conn
        session["visited"] = True
        return {
            "id": conn.id,
            "key": conn.key,
            "requests": conn.requests,
            "managed": conn.managed,
            "state": conn.state.name,
            "is_tls": conn.is_tls,
            "remote": request.remote_addr,
            "scheme": request.scheme,
            "identity": rawsocket.peer_identity(),
            "alive": len(rawsocket.connections),
        }

    @app.get("/work")
    @rawsocket.stop_when_disconnected()
    def work():
        entered.set()
        for _ in range(1000):
            rawsocket.checkpoint()
            current_conn.wait_disconnected(0.01)
        return "done"

    @app.get("/parts")
    def parts():
        def made():
            try:
                for number in range(100):
                    yield f"part {number}\n"
            finally:
                seen.append("finally")

        return Response(rawsocket.until_disconnected(made()), mimetype="text/plain")

    @app.post("/echo")
    def echo():
        with current_conn.hijack() as stream:
            while data := stream.recv(100):
                stream.sendall(data)
        return "dropped"

    @app.post("/echo-once")
    def echo_once():
        with current_conn.hijack() as stream:
            stream.sendall(stream.recv_exactly(9))
        return ""

    @app.get("/upgrade")
    def upgrade():
        with current_conn.upgrade("shout", {"X-Loud": "yes"}) as stream:
            stream.sendall(b"hello")
        return ""

    @app.get("/async")
    def with_a_loop():
        async def shout(reader, writer):
            writer.write((await reader.readline()).upper())
            await writer.drain()

        current_conn.hijack_async(shout, protocol="shout")
        return ""

    @app.get("/close")
    def close():
        current_conn.close_after_response()
        return "closes"

    @app.get("/abort")
    def abort():
        current_conn.abort()
        return "nobody reads this"

    @app.get("/fail")
    def fail():
        raise ZeroDivisionError("in the view")

    @app.get("/fail-late")
    def fail_late():
        def made():
            yield "one"
            raise ZeroDivisionError("in the stream")

        return Response(made())

    @app.get("/fail-hijacked")
    def fail_hijacked():
        with current_conn.hijack():
            raise ZeroDivisionError("after the hijack")

    @app.get("/mine")
    @rawsocket.require_peer(user=getpass.getuser())
    def mine():
        return "admitted"

    @app.get("/group")
    @rawsocket.require_peer(gid=4711)
    def group():
        return "admitted"

    @app.get("/callback")
    def callback():
        gone = threading.Event()
        current_conn.on_disconnect(gone.set)
        return str(gone.wait(10))

    @app.get("/told-later")
    def told_later():
        current_conn.on_disconnect(app.told.set)
        entered.set()
        return str(app.left.wait(10))

    entered = app.entered = threading.Event()
    app.left, app.told = threading.Event(), threading.Event()
    return app


@pytest.fixture(params=TRANSPORTS, ids=["tcp", "unix", "tls"])
def client(rawsocket_client, request):
    """The fixture's client over each transport."""
    transport, tls = request.param
    rawsocket_client.connect(transport, tls=tls)
    return rawsocket_client


def test_current_conn(client):
    """A view has a managed connection, whose other end is the client's."""
    found = client.get("/").json
    assert found["id"] == client.conn.id
    assert (found["managed"], found["state"], found["requests"]) == (True, "ACTIVE", 1)
    assert found["is_tls"] == client.conn.is_tls == (found["scheme"] == "https")
    if client.conn.is_unix:
        assert found["remote"] == found["key"]
        assert found["identity"] == f"uid:{os.geteuid()}"
    else:
        host, port = client.peer.sock.getsockname()
        assert found["key"] == f"{host}:{port}"
        assert found["remote"] == found["identity"] == host
    assert client.conn.peer_status() is PeerStatus.OPEN


def test_states_and_hooks(client, seen):
    """The connection is kept alive; when its client leaves the hooks have heard of it."""
    assert client.get("/").json["requests"] == 1
    assert client.get("/").json["requests"] == 2
    assert seen == ["N", "A", "I", "A", "I"]
    conn = client.conn
    client.peer.leave()
    assert seen == ["N", "A", "I", "A", "I", "C"]
    assert conn.close_reason.group is CloseReason.CLIENT
    assert client.get("/").json["requests"] == 1


@pytest.mark.parametrize("verb", ["leave", "reset", "half_close"])
def test_a_view_that_stops(client, verb):
    """A view that asks is stopped when its client leaves, and the test can tell."""
    with client.start("/work") as running:
        client.application.entered.wait(10)
        getattr(running.peer, verb)()
    assert running.client_was_gone
    assert running.conn.close_reason.group is CloseReason.CLIENT


def test_a_view_whose_client_stays(client):
    """It is not said to have been stopped."""
    with client.start("/") as running:
        pass
    assert running.response.status_code == 200
    assert not running.client_was_gone
    assert running.conn.state is ConnState.IDLE


def test_a_stream_that_stops(client, seen):
    """A stream ends when its client leaves, in the middle of a test, and its finally runs."""
    parts = client.get("/parts").iter_encoded()
    assert next(parts) == b"part 0\n"
    client.peer.leave()
    assert list(parts) == []
    assert seen == ["N", "A", "finally", "C"]
    assert client.client_was_gone


def test_a_stream_to_its_end(client, seen):
    """It ends as it does for a client; until then another request has a connection of its own."""
    response = client.get("/parts")
    first = client.conn
    assert client.get("/").json["id"] != first.id
    assert first.state is ConnState.ACTIVE
    assert response.text.count("\n") == 100
    assert first.state is ConnState.IDLE
    assert not client.client_was_gone
    response = client.get("/parts")
    response.close()
    assert seen[-2:] == ["finally", "I"]


def test_hijack(client, seen):
    """What the view reads and writes goes over the connection; the body's rest comes first."""
    with client.start("/echo", method="POST", data=b"one") as running:
        assert running.peer.recv() == b"one"
        running.peer.send(b"two")
        assert running.peer.recv() == b"two"
        running.peer.half_close()
    assert running.response.status_code == 101
    assert running.peer.recv_all() == b""
    assert seen == ["N", "N", "A", "H", "C"]  # the fixture's own is there, too


def test_hijack_in_the_tests_own_thread(client):
    """What the client has to say is there before."""
    client.peer.send(b"hello")
    client.peer.send(b" you")
    assert client.post("/echo-once").status_code == 101
    assert client.peer.recv_all() == b"hello you"


def test_upgrade(client, seen):
    """The response is the one that was sent, and what follows it can be read."""
    response = client.get("/upgrade", headers={"Upgrade": "shout"})
    assert response.status_code == 101
    assert response.headers["X-Loud"] == "yes"
    assert client.peer.recv_all() == b"hello"
    assert seen == ["N", "A", "H", "C"]


def test_hijack_async(client, seen):
    """A handler on the event loop talks to the client."""
    assert client.get("/async").headers["Upgrade"] == "shout"
    client.peer.send(b"hello\n")
    assert client.peer.recv_all() == b"HELLO\n"
    wait_for(lambda: seen == ["N", "A", "H", "C"], "the end")


def test_close_after_response(client, seen):
    """The connection is closed as a server would."""
    assert client.get("/close").text == "closes"
    assert seen == ["N", "A", "C"]
    assert client.peer.recv() == b""
    assert client.get("/", headers={"Connection": "close"}).status_code == 200
    assert client.conn.close_reason.group is CloseReason.AFTER_RESPONSE


def test_abort(client, seen):
    """The client is told by what a reset raises."""
    with pytest.raises(ConnectionResetError, match="the view has reset the connection"):
        client.get("/abort")
    assert seen == ["N", "A", "C"]
    assert client.conn.close_reason.group is CloseReason.APP


@pytest.mark.parametrize("path", ["/fail", "/fail-hijacked"])
def test_a_view_that_fails(client, path, seen):
    """What it raises is raised in the test, as by Flask's client."""
    with pytest.raises(ZeroDivisionError):
        client.get(path)
    assert seen[-1] == "C"
    with client.start(path) as running:
        pass
    with pytest.raises(ZeroDivisionError):
        _ = running.response


def test_a_stream_that_fails(client, seen):
    """So is what a stream raises."""
    response = client.get("/fail-late")
    with pytest.raises(ZeroDivisionError):
        _ = response.data
    assert seen == ["N", "A", "C"]
    assert client.conn.close_reason.group is CloseReason.ERROR


def test_on_disconnect(client):
    """A callback is called when the client leaves."""
    with client.start("/callback") as running:
        running.peer.leave()
    assert running.response.text == "True"


def test_on_disconnect_at_the_end(client, app, monkeypatch):
    """It is called also where the view ends before the kernel has reported."""
    monkeypatch.setattr(Watcher, "_reported", lambda _self, _fd: [])
    with client.start("/told-later") as running:
        assert app.entered.wait(10)
        running.peer.leave()
        app.left.set()
    assert app.told.wait(10)


def test_peer_credentials(rawsocket_client):
    """A UNIX peer is who the test says."""
    assert rawsocket_client.get("/mine").status_code == 403
    rawsocket_client.connect("unix")
    assert rawsocket_client.get("/mine").text == "admitted"
    assert rawsocket_client.get("/group").status_code == 403
    rawsocket_client.connect("unix", uid=os.geteuid() + 1, groups=[4711])
    assert rawsocket_client.get("/group").text == "admitted"
    assert rawsocket_client.get("/mine").status_code == 403
    assert rawsocket_client.conn.peer_credentials().pid == os.getpid()
    assert rawsocket_client.get("/").json["identity"] == f"uid:{os.geteuid() + 1}"


def test_what_cannot_be(rawsocket_client):
    """The errors say so."""
    with pytest.raises(ValueError, match="one of tcp, unix, not 'udp'"):
        rawsocket_client.connect("udp")
    with pytest.raises(ValueError, match="only a UNIX peer"):
        rawsocket_client.connect(uid=0)
    assert rawsocket_client.get("/").status_code == 200


def test_flasks_own_features(client):
    """Cookies, the session, redirects and the context are Flask's."""
    with client:
        client.get("/")
        assert request.path == "/"
        assert session["visited"]
    with client.session_transaction() as changed:
        assert changed["visited"]
    assert client.post("/", json={}).status_code == 200


def test_a_view_that_does_not_end(rawsocket_client):
    """The test says where it is."""
    running = rawsocket_client.start("/work")
    with pytest.raises(AssertionError, match=r"still running after 0\.2 seconds(.|\n)*test_client"):
        running.wait(timeout=0.2)
    running.peer.leave()
    running.wait()


def test_a_test_that_fails(rawsocket_client):
    """Its own failure is the one that is seen, and no view is left running."""
    with pytest.raises(ZeroDivisionError), rawsocket_client.start("/work") as running:
        raise ZeroDivisionError
    assert running.client_was_gone


def test_the_map_is_empty_afterwards(app, seen):
    """Whatever a test has left open is closed, what it has hijacked and forgotten included."""
    before = len(process_tracker.connections)
    client = RawSocketClient(app)
    for transport, tls in TRANSPORTS:
        client.connect(transport, tls=tls)
        client.get("/")
    client.get("/async")
    running = client.start("/work")
    client.get("/parts")
    client.close()
    running.wait()
    assert len(process_tracker.connections) == before
    assert seen.count("N") == seen.count("C") == 5


def test_without_a_connection(app):
    """Flask's own client is as it was, and its error names this one."""
    assert app.test_client().get("/parts").text.count("\n") == 100
    with pytest.raises(NoConnectionError, match="pytest fixture `rawsocket_client`"):
        app.test_client().get("/")
