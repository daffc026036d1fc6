"""Streams as responses: their head, their body and their end, on every server."""

from __future__ import annotations

import pytest
from servers import wait_for

pytestmark = pytest.mark.slow


def raw(server, path, *headers, **kwargs):
    """Give the head and the body of a response as they are on the wire."""
    with server.connect() as client:
        client.get(path, *headers, **kwargs)
        return client.rest().split(b"\r\n\r\n", 1)


def test_body(live):
    """The parts come in order, in chunks; the generator is in no Flask context."""
    with live.connect() as client:
        response = client.request("/live/body?count=3&size=5")
        assert response.status == 200
        assert response.body == b"000001111122222contexts False False same True"
        assert response.headers["transfer-encoding"] == "chunked"
        assert response.headers["connection"] == "close"
        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        assert client.at_eof()
    live.wait_sequences("NAHC")
    assert live.closed()[0]["reason"] == "AFTER_RESPONSE"


def test_it_is_a_flask_response(live):
    """The session, cookies, after_request functions and middlewares have their say."""
    head, _ = raw(live, "/live/body?cookie=1&status=203")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 203 NON AUTHORITATIVE INFORMATION"
    assert "X-After: was here" in lines
    assert "X-Middleware: was here" in lines
    assert any(line.startswith("Set-Cookie: taste=sweet") for line in lines)
    assert any(line.startswith("Set-Cookie: session=") for line in lines)
    assert sum(line.startswith("Date: ") for line in lines) == 1


def test_large_body(live):
    """A body larger than any buffer arrives whole."""
    with live.connect() as client:
        body = client.request("/live/body?count=200&size=50000").body
    assert body[:-30] == b"".join(b"%d" % (each % 10) * 50000 for each in range(200))


def test_http_1_0(live):
    """To HTTP/1.0 the body ends with the connection."""
    head, body = raw(live, "/live/body?count=1", version="1.0")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"chunked" not in head
    assert body == b"0000000000contexts False False same True"


def test_content_length(live):
    """A body whose length the view has said is not sent in chunks."""
    with live.connect() as client:
        response = client.request("/live/body?count=1&length=40")
    assert "transfer-encoding" not in response.headers
    assert response.body == b"0000000000contexts False False same True"


def test_head(live):
    """HEAD gets the head, and the generator does not run."""
    with live.connect() as client:
        client.get("/live/body", "Connection: close", method="HEAD")
        head, body = client.rest().split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b""
    live.wait_sequences("NAC")


def test_failure_shows(live):
    """A generator that fails leaves a body whose end is missing, and a line in the log."""
    _, body = raw(live, "/live/fails")
    assert body == b"5\r\nbegun\r\n"
    wait_for(lambda: "a generator that fails amid its body" in live.tail(), "the log")
    live.wait_sequences("NAHC")
    assert live.closed()[0]["reason"] == "ERROR"


def test_failure_before_the_first_byte(live):
    """A generator that fails at once leaves a head without a body; the next request is served."""
    head, body = raw(live, "/live/fails?early")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b""
    live.wait_sequences("NAHC")
    assert live.closed()[0]["reason"] == "ERROR"
    with live.connect() as client:
        assert client.request("/live/events").status == 200


@pytest.mark.parametrize("how", ["exit", "cancelled"])
def test_exit_is_a_failure(live, how):
    """sys.exit() in a generator, or a cancellation of its own, fails that stream and no other."""
    with live.connect() as other:
        other.get("/live/waits")
        other._until(b"begun")
        _, body = raw(live, f"/live/fails?how={how}")
        assert body == b"5\r\nbegun\r\n"
        wait_for(live.closed, "the end of the connection")
        assert live.closed()[0]["reason"] == "ERROR"
        assert live.sequences() == ["NAH", "NAHC"]


def test_failure_shows_in_http_1_0(live):
    """To HTTP/1.0, where a body ends with the connection, the end is not a good one.

    It is a reset; under TLS an end without close_notify. A UNIX socket knows neither.
    """
    if live.transport == "unix":
        pytest.skip("UNIX sockets know no reset")
    with live.connect() as client:
        if live.transport == "tls":
            client.sock.suppress_ragged_eofs = False
        client.get("/live/fails", version="1.0")
        with pytest.raises(OSError, match=r"reset|EOF"):
            client.rest()


def test_client_leaves(live):
    """A client that leaves is noticed while the generator waits, and its `finally` runs."""
    with live.connect() as client:
        client.get("/live/waits")
        client._until(b"begun")
    wait_for(lambda: any("finished" in each for each in live.events()), "the generator's end")
    live.wait_sequences("NAHC")
    assert live.closed()[0]["reason"] == "CLIENT"


def test_client_leaves_amid_the_body(live):
    """A client that leaves when much waits for it leaves a connection that is closed."""
    before = len(live.log.read_text())
    with live.connect() as client:
        client.get("/live/body?count=2000&size=50000")
        client._exactly(100_000)
    wait_for(lambda: any("finished" in each for each in live.events()), "the generator's end")
    live.wait_sequences("NAHC")
    assert live.closed()[0]["reason"] == "CLIENT"
    assert "Error" not in live.log.read_text()[before:]


def test_teardown(live):
    """Teardown runs when the view is done, not when the stream ends."""
    with live.connect() as client:
        client.get("/live/waits")
        client._until(b"begun")
        wait_for(lambda: {"teardown": "/live/waits"} in live.events(), "teardown")
        assert live.sequences() == ["NAH"]


def test_in_thread(live):
    """A call in a thread has the application's context, and what it raises is raised."""
    with live.connect() as client:
        assert client.request("/live/thread").body == b"contract False 3 ValueError"


def test_log(live):
    """The access log has the status that the stream began with."""
    raw(live, "/live/body?status=203&this=one")
    line = wait_for(
        lambda: [each for each in live.tail().splitlines() if "this=one" in each], "the log"
    )[0]
    assert " 203 " in line
