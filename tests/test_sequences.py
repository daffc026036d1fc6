"""The sequences of states of DESIGN section 4, on every server and transport, over real sockets.

N A I C are NEW, ACTIVE, IDLE and CLOSED.  They are polled: a client can see FIN before the server
has recorded anything.
"""

from __future__ import annotations

import contextlib
import ssl

import pytest
from servers import wait_for


def one_closed(server):
    """Wait for the one CLOSED event, and check what holds for every one."""
    (event,) = wait_for(server.closed, "CLOSED")
    assert event["usable"], "the descriptor was closed before its hook ran"
    assert not event["in_map"], "the map still had it when the hook ran"
    return event


def test_connect_and_close(server):
    """A client that connects and leaves is NEW, then CLOSED by the client."""
    server.raw().close()
    server.wait_sequences("NC")
    assert one_closed(server)["reason"] == "CLIENT"


def test_one_byte_and_close(server):
    """One byte of a request makes a connection ACTIVE."""
    with server.connect() as client:
        client.send(b"G")
        wait_for(lambda: server.sequences() == ["NA"], "ACTIVE on the first byte")
    server.wait_sequences("NAC")
    assert one_closed(server)["reason"] == "CLIENT"


def test_garbage(server):
    """Garbage is answered with 400 and closed as an error."""
    with server.connect() as client:
        client.send(b"\x00\x01garbage\r\n\r\n")
        assert b"400" in client.rest()
    server.wait_sequences("NAC")
    assert one_closed(server)["reason"] == "ERROR"


def test_two_requests(server):
    """Two requests on a kept connection; a server without keep-alive closes after the first."""
    with server.connect() as client:
        assert client.request().json["requests"] == 1
        if not server.keeps_alive:
            server.wait_sequences("NAC")
            assert one_closed(server)["reason"] == "AFTER_RESPONSE"
            return
        wait_for(lambda: server.sequences() == ["NAI"], "IDLE")
        second = client.request().json
        assert (second["requests"], second["data"]) == (2, {"seen": 2})
    server.wait_sequences("NAIAIC")
    assert one_closed(server)["reason"] == "CLIENT"


def test_two_pipelined_requests(gthread):
    """A request that came in the same segment as the one before it is answered at once."""
    with gthread.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        assert client.response().json["requests"] == 1
        assert client.response().json["requests"] == 2
    gthread.wait_sequences("NAIAIC")


def test_a_pipelined_half(gthread):
    """Half a head behind a request makes the connection ACTIVE again."""
    with gthread.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT")
        assert client.response().status == 200
        wait_for(lambda: gthread.sequences() == ["NAIA"], "ACTIVE")
        client.send(b"TP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().json["requests"] == 2
    gthread.wait_sequences("NAIAIC")


def test_garbage_as_second_request(gthread):
    """Garbage after a good request: IDLE, ACTIVE by its first byte, CLOSED as an error."""
    with gthread.connect() as client:
        assert client.request().status == 200
        client.send(b"garbage\r\n\r\n")
        assert b"400" in client.rest()
    gthread.wait_sequences("NAIAC")
    assert one_closed(gthread)["reason"] == "ERROR"


@pytest.mark.parametrize(
    ("headers", "version"), [((), "1.0"), (("Connection: close",), "1.1")], ids=["1.0", "close"]
)
def test_not_kept(server, headers, version):
    """HTTP/1.0 and `Connection: close` end after their response, without IDLE."""
    with server.connect() as client:
        client.get("/", *headers, version=version)
        assert b"200" in client.rest()
    server.wait_sequences("NAC")
    assert one_closed(server)["reason"] == "AFTER_RESPONSE"


def test_view_fails_amid_its_response(server):
    """A view that fails after its head was sent: the client sees a cut response."""
    with server.connect() as client:
        client.get("/fail-midway")
        assert b"0\r\n\r\n" not in client.rest()
    server.wait_sequences("NAC")
    assert one_closed(server)["reason"] == "ERROR"


def test_view_fails_before_its_response(server):
    """A view that fails before its head is answered with 500 by Flask, and nothing else changes."""
    with server.connect() as client:
        assert client.request("/fail", "Connection: close").status == 500
    server.wait_sequences("NAC")
    assert one_closed(server)["reason"] == "AFTER_RESPONSE"


def test_reset_after_a_request(gthread):
    """A reset while idle is the client's doing."""
    with gthread.connect() as client:
        assert client.request().status == 200
        wait_for(lambda: gthread.sequences() == ["NAI"], "IDLE")
        client.reset()
    gthread.wait_sequences("NAIC")
    assert one_closed(gthread)["reason"] == "CLIENT"


def test_client_gone_amid_its_response(server):
    """A client that resets amid a long response ends its own connection only."""
    with server.connect() as client:
        client.get("/stream?n=2000&size=65536")
        client.sock.recv(1000)
        client.reset()
    server.wait_sequences("NAC")
    assert one_closed(server)["reason"] == "CLIENT"


def test_aborted_upload(server):
    """An upload that breaks off costs its own connection only."""
    with server.connect() as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")
        wait_for(lambda: server.sequences() == ["NA"], "ACTIVE")
    server.wait_sequences("NAC")


def test_unread_body(server):
    """A body that the view did not read does no harm, and is no request."""
    with server.connect() as client:
        answer = client.request(
            "/unread", "Content-Length: 30000", method="POST", body=b"x" * 30000
        )
        assert answer.status == 200
        if server.keeps_alive:
            assert client.request().json["requests"] == 2
    server.wait_sequences("NAIAIC" if server.keeps_alive else "NAC")


def test_half_close(server):
    """A client that sends FIN behind its request still gets the response."""
    with server.connect() as client:
        if server.transport == "tls":
            pytest.skip("Python's ssl module cannot half-close")
        client.get("/", "Connection: close")
        client.sock.shutdown(1)
        assert client.response().status == 200
    server.wait_sequences("NAC")
    assert one_closed(server)["reason"] == "AFTER_RESPONSE"


def test_close_after_response(gthread):
    """`close_after_response()` makes the response say so, and the connection end."""
    with gthread.connect() as client:
        answer = client.request("/close")
        assert answer.headers["connection"] == "close"
        assert client.rest() == b""
    gthread.wait_sequences("NAC")
    assert one_closed(gthread)["reason"] == "AFTER_RESPONSE"


class TestTLS:
    """A handshake that fails, or never comes."""

    @pytest.fixture
    def transport(self):
        return "tls"

    def test_plain_to_tls(self, server):
        """A request in the clear fails the handshake."""
        with server.raw() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while sock.recv(4096):
                    pass
        server.wait_sequences("NC")
        assert one_closed(server)["reason"] == "ERROR"

    def test_broken_handshake(self, server):
        """A client that leaves amid its handshake was never ACTIVE."""
        with server.raw() as sock:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        server.wait_sequences("NC")
        assert one_closed(server)["reason"] in {"CLIENT", "ERROR"}

    def test_handshake_and_no_request(self, server):
        """A handshake is no request."""
        server.connect().close()
        server.wait_sequences("NC")
        assert one_closed(server)["reason"] == "CLIENT"

    def test_tls_to_plain(self, shared_servers):
        """A ClientHello on a plain port is garbage."""
        server = shared_servers("gthread", "tcp")
        server.mark()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with server.raw() as sock, pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(sock)
        server.wait_sequences("NAC")
