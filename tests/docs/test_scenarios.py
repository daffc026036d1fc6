"""Those of Go's scenarios that no other file has; `docs/go-scenarios.md` lists all."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from servers import APPS, wait_for

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(APPS), str(HERE)])


@pytest.fixture(scope="module")
def start(run_server):
    """A function that runs a server with the scenarios' application, as a context."""
    return lambda name: run_server(name, app="scenarios:app", env={"PYTHONPATH": PATHS})


@pytest.fixture(scope="module", params=["werkzeug", "sync", "gthread"])
def any_server(request, start):
    """Each of our servers."""
    with start(request.param) as server:
        yield server


@pytest.fixture
def server(any_server):
    """Each of our servers, with nothing recorded as far as the test sees."""
    any_server.mark()
    return any_server


threaded = pytest.mark.parametrize("any_server", ["werkzeug", "gthread"], indirect=True)
"""On those that serve two connections at once."""
kept = pytest.mark.parametrize("any_server", ["gthread"], indirect=True)
"""On the one that keeps connections alive."""


def test_data_of_a_hook(server):
    """What a hook on NEW keeps with a connection its view finds, and no other connection's does."""
    with server.connect() as client:
        first = client.request("/data", "Connection: close").json
    with server.connect() as client:
        second = client.request("/data", "Connection: close").json
    assert first["born"] == first["id"] != second["id"] == second["born"]


@threaded
def test_a_hook_that_blocks(server):
    """A hook that blocks on one connection's NEW leaves the others to be accepted and answered."""
    with server.connect() as client:
        assert client.request("/shut-out-the-next", "Connection: close").status == 200
    with server.connect() as blocked:
        blocked.get("/data")
        wait_for(lambda: {"shut_out": blocked.key} in server.events(), "the hook")
        with server.connect() as client:
            assert client.request("/go", "Connection: close").status == 200
        assert blocked.response().status == 200


@threaded
def test_flush(server):
    """The client has the first part of a stream before the second is made."""
    with server.connect() as client, server.connect() as other:
        client.get("/one-two")
        client._until(b"one")
        assert b"two" not in client.buffered
        assert other.request("/go").status == 200
        client._until(b"two")


def test_past_write_deadline(server):
    """What was written before the deadline is all that arrives."""
    with server.connect() as client:
        client.get("/past-write-deadline")
        got = client.rest()
        assert b"one" in got
        assert b"two" not in got
        assert not got.endswith(b"0\r\n\r\n")


def test_a_read_deadline_is_no_disconnect(server):
    """A view that reads nothing does not take its read deadline for its client's leaving."""
    with server.connect() as client:
        assert client.request("/patient").json == {"gone": False}
        if server.keeps_alive:
            assert client.request("/patient").json == {"gone": False}


def test_bytes_that_come_while_the_view_runs(server):
    """What the client sends, and its half-close, after the view was entered: all there."""
    before = len(server.events())
    with server.connect() as client:
        client.get("/entered")
        wait_for(lambda: {"entered": True} in server.events()[before:], "the view")
        client.send(b"foo")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b"foo and b''"


@kept
def test_hijack_after_a_watched_request(server):
    """A request that watched its client leaves the next one on the connection free to hijack."""
    before = len(server.events())
    with server.connect() as client:
        number = client.request("/watched").json["id"]
        client.get("/taken", body=b"early")
        assert client.rest() == b"%d\nearly" % number
    server.wait_sequences("NAIAHC")
    assert {"called_back": True} not in server.events()[before:]


def test_deadlines_are_lifted(server):
    """Deadlines end with the hijack."""
    with server.connect() as client:
        client.get("/deadlines-lifted", body=b"ping")
        assert client.rest() == b"HELLO\nping"


def test_the_http2_preface(server):
    """HTTP/2's preface is no request to an HTTP/1 server: refused, no view is entered."""
    with server.connect() as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        got = client.rest()
        assert b"400 Bad Request" in got or b"505" in got
    server.wait_sequences("NAC")


@pytest.mark.slow
@kept
def test_2000_pipelined_requests(server):
    """2,000 requests at once get 2,000 responses, in order."""
    count = 2000
    with server.connect() as client:
        client.sock.settimeout(0)
        sending = memoryview(b"GET /data HTTP/1.1\r\nHost: a\r\n\r\n" * count)
        answers = bytearray()
        while answers.count(b'"born"') < count:
            sending = _send(client.sock, sending)
            answers += _receive(client.sock)
        assert answers.count(b"HTTP/1.1 200 OK") == count
    server.wait_sequences("N" + "AI" * count + "C")


def _send(sock, data):
    try:
        return data[sock.send(data) :] if data else data
    except BlockingIOError:
        return data


def _receive(sock):
    sock.settimeout(20)
    got = sock.recv(65536)
    sock.settimeout(0)
    assert got, "closed before the last response"
    return got


def test_nothing_but_a_half_close(server):
    """A client that closes its half without a request is sent no byte."""
    sock = server.raw()
    with sock:
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(100) == b""
    server.wait_sequences("NC")
