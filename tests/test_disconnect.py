"""Knowing when the peer is gone, and what a view does about it; deadlines, and the reset."""

from __future__ import annotations

import socket
import time

import pytest
from servers import wait_for


def one(server, key, before):
    """Wait for the first event that has `key`, among those recorded since `before`."""

    def found():
        return next((each for each in server.events()[before:] if key in each), None)

    return wait_for(found, f"an event with {key!r}")


def watching(server, client, path="/watch", *headers, **kwargs):
    """Send a request whose view watches its connection; wait until it does."""
    before = len(server.events())
    client.get(path, *headers, **kwargs)
    one(server, "watching", before)
    return before


STATUSES = {"FIN_RECEIVED", "CLOSED", "RESET"}


def test_close(server):
    """The callback comes, the wait ends, and the status says what the kernel can tell."""
    with server.connect() as client:
        before = watching(server, client)
    event = one(server, "gone", before)
    assert (event["gone"], event["called"]) == (True, True)
    assert event["status"] in ({"CLOSED", "RESET"} if server.transport == "unix" else STATUSES)


def test_reset(server):
    """A reset is a reset over TCP."""
    with server.connect() as client:
        before = watching(server, client)
        client.reset()
    event = one(server, "gone", before)
    assert event["gone"]
    if server.transport == "tcp":
        assert event["status"] == "RESET"


def test_close_behind_an_unread_body(server):
    """A body that nobody has read hides nothing."""
    with server.connect() as client:
        before = watching(
            server, client, "/watch", "Content-Length: 1000", method="POST", body=b"x" * 1000
        )
    assert one(server, "gone", before)["gone"]


def test_close_behind_a_body_that_was_read(server):
    """So it is after the body was read."""
    with server.connect() as client:
        before = watching(
            server, client, "/watch?read=1", "Content-Length: 9", method="POST", body=b"x" * 9
        )
    assert one(server, "gone", before)["gone"]


def test_close_behind_pipelined_data(server):
    """A second request in the pipe hides nothing either."""
    with server.connect() as client:
        before = watching(server, client, body=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert one(server, "gone", before)["gone"]


def test_half_close(server):
    """A half-close is told from a close over UNIX; over TCP the kernel cannot know."""
    if server.transport == "tls":
        pytest.skip("Python's ssl module cannot half-close")
    with server.connect() as client:
        before = watching(server, client)
        client.sock.shutdown(socket.SHUT_WR)
        event = one(server, "gone", before)
        assert (event["gone"], event["status"]) == (True, "FIN_RECEIVED")


def test_still_there(server):
    """A client that waits for its response is not gone, and nothing of what it sends is read."""
    with server.connect() as client:
        client.get("/watch?timeout=0.2", body=b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().status == 200
        if server.keeps_alive:
            assert client.response().json == {"status": "OPEN", "gone": False}


def test_the_callback_is_quick(server):
    """The callback comes within 100 ms, where the machine lets it: the best of ten."""
    delays = []
    for _ in range(10):
        client = server.connect()
        before = watching(server, client)
        left = time.time()
        client.close()
        delays.append(one(server, "callback", before)["callback"] - left)
        one(server, "gone", before)
        if delays[-1] < 0.1:
            break
    assert min(delays) < 0.1


def test_a_stream_is_ended(server):
    """A stream that nobody reads any more is closed, and its `finally` runs."""
    before = len(server.events())
    with server.connect() as client:
        client.get("/until-gone")
        client._until(b"tick\n")
    assert one(server, "stream_ended", before)
    wait_for(lambda: server.sequences() == ["NAC"], "CLOSED")


@pytest.mark.parametrize("path", ["/checkpoints", "/decorated", "/undecorated"])
def test_a_view_is_stopped_at_its_checkpoint(server, path):
    """A long view stops at its next checkpoint with Werkzeug's ClientDisconnected."""
    before = len(server.events())
    with server.connect() as client:
        client.get(path)
        one(server, "working", before)
    assert one(server, "stopped", before)["stopped"] == "ClientDisconnected"


def test_read_deadline(server):
    """Reading past the read deadline raises TimeoutError in the view."""
    with server.connect() as client:
        client.get("/read-deadline", "Content-Length: 10", method="POST", body=b"half")
        answer = client.response()
        assert answer.json["error"] == "TimeoutError"
    server.wait_sequences("NAC")


def test_a_deadline_that_is_kept(server):
    """A body that comes in time is read as ever."""
    with server.connect() as client:
        answer = client.request(
            "/read-deadline?seconds=10", "Content-Length: 4", method="POST", body=b"body"
        )
        assert answer.json == {"length": 4}


def test_write_deadline(server):
    """A client that does not read is let go past the write deadline, and no failure logged."""
    before = len(server.log.read_text())
    with server.connect() as client:
        client.get("/write-deadline", "Connection: close")
        server.wait_sequences("NAC")
        assert server.closed()[0]["reason"] in {"ERROR", "CLIENT"}
    assert "Traceback" not in server.log.read_text()[before:]


def test_deadlines_end_with_their_request(gthread):
    """The next request on the connection has none of them."""
    with gthread.connect() as client:
        assert client.request("/set-deadlines").status == 200
        assert client.request("/upload", "Content-Length: 2", method="POST", body=b"ab").json == {
            "length": 2
        }


def test_abort(server):
    """`abort()` resets the connection, and nothing of the response is sent."""
    before = len(server.log.read_text())
    with server.connect() as client:
        client.get("/abort")
        try:
            got = client.rest()
        except ConnectionResetError:
            got = b""
        else:
            assert server.transport != "tcp", "a FIN, where an RST was due"
        assert got == b""
    server.wait_sequences("NAC")
    assert server.closed()[0]["reason"] == "APP"
    assert "Traceback" not in server.log.read_text()[before:]
