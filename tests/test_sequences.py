"""The sequences of states of DESIGN section 4, on every server and transport, over real sockets.

N A I C are NEW, ACTIVE, IDLE and CLOSED.  They are polled: a client can see FIN before the server
has recorded anything.
"""

from __future__ import annotations

import contextlib
import ssl

import gunicorn
import pytest
from servers import client_context, wait_for


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


def test_upstream_reset(server):
    """A view that fails amid its response as if the client had gone: it has not."""
    with server.connect() as client:
        client.get("/upstream")
        assert b"0\r\n\r\n" not in client.rest()
    server.wait_sequences("NAC")
    assert one_closed(server)["reason"] == "ERROR"


def test_long_unread_body(server):
    """A body that nobody reads, and that is too long to skip: the connection ends as others do."""
    if server.name == "gthread" and gunicorn.version_info < (27, 0):
        pytest.skip("gunicorn before 27.0 finds it when it looks for the next request")
    if server.name != "werkzeug" and server.transport == "tls":
        pytest.skip("gunicorn closes amid the body, and whether the answer arrives is luck")
    with server.connect() as client:
        client.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
        # No server has to wait for all of what it does not want (RFC 9112, section 9.6).
        with contextlib.suppress(ConnectionError):
            client.send(b"x" * 200_000)
        assert client.response().status == 200
        # Werkzeug reads on until the client has closed.
        assert server.name == "werkzeug" or client.at_eof()
    server.wait_sequences("NAC")
    assert one_closed(server)["reason"] == "AFTER_RESPONSE"


class Wire:
    """A client that keeps what was on the wire, under TLS too."""

    def __init__(self, server):
        self.sock = server.raw()
        self.raw = self.text = b""
        self.tls = None
        if server.transport == "tls":
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = client_context().wrap_bio(
                self.incoming, self.outgoing, server_hostname="localhost"
            )
            self._patiently(self.tls.do_handshake)

    def _patiently(self, call):
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))

    def get(self, path):
        data = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        if self.tls is not None:
            self.tls.write(data)
            data = self.outgoing.read()
        self.sock.sendall(data)

    def more(self):
        """Read some; tell whether there was any."""
        data = self.sock.recv(65536)
        self.raw += data
        if self.tls is None:
            self.text += data
        else:
            self.incoming.write(data)
            with contextlib.suppress(ssl.SSLError):
                while clear := self.tls.read():
                    self.text += clear
        return bool(data)

    def is_reset(self):
        """Read to the end, and tell whether it was a reset."""
        try:
            while self.more():
                pass
        except ConnectionResetError:
            return True
        return False


class TestAbort:
    """A connection that its application aborts."""

    @pytest.mark.parametrize("by", ["itself", "another"])
    def test_amid_a_response(self, server, by):
        """Nothing more of the response is sent, and under TLS nothing of it in the clear."""
        if by == "another" and server.name == "sync":
            pytest.skip("one request at a time")
        before = len(server.events())

        def events(name):
            return [each[name] for each in server.events()[before:] if name in each]

        wire = Wire(server)
        with wire.sock:
            wire.get("/abort-midway" + "?waiting" * (by == "another"))
            while by == "another" and b"one" not in wire.text:
                assert wire.more()
            if by == "another":
                (number,) = wait_for(lambda: events("streaming"), "the stream to have begun")
                with server.connect() as other:
                    assert other.request(f"/abort-another?id={number}", "Connection: close")
            assert wire.is_reset() or server.transport == "unix"
        wait_for(lambda: events("going_on"), "the view to have gone on")
        assert b"two" not in wire.text
        assert b"0\r\n\r\n" not in wire.text
        if server.transport == "tls":
            for said in b"HTTP/1.1", b"one", b"two", b"0\r\n\r\n":
                assert said not in wire.raw
        server.wait_sequences("NAC", *["NAC"] * (by == "another"))
        reasons = [each["reason"] for each in server.closed()]
        assert sorted(reasons) == ["AFTER_RESPONSE"] * (by == "another") + ["APP"]

    def test_a_response_that_nobody_reads(self, server):
        """Its view, which waits to write more, ends; another request has aborted it."""
        if server.name == "sync":
            pytest.skip("one request at a time")
        with server.connect() as client:
            client.get("/stream?n=2000&size=65536")
            wait_for(lambda: server.sequences() == ["NA"], "ACTIVE")
            number = max(each["id"] for each in server.events() if "id" in each)
            with server.connect() as other:
                assert other.request(f"/abort-another?id={number}&full").status == 200
            (event,) = wait_for(
                lambda: [each for each in server.closed() if each["id"] == number], "CLOSED"
            )
            assert event["reason"] == "APP"

    def test_when_new(self, server):
        """A hook that aborts a connection which is NEW: what has come already is not answered.

        Unless it comes so late that the request has begun beside it.
        """
        with server.connect() as client:
            client.request("/ban", "Connection: close")
        server.wait_sequences("NAC")
        server.mark()
        before = len(server.events())
        answered = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError), server.connect() as client:
            client.get("/")
            answered = client.rest()
        event = one_closed(server)
        assert event["reason"] == "APP"
        told = [each for each in server.events()[before:] if "banned" in each]
        assert [(each["banned"], each["came"]) for each in told] == [(event["id"], True)]
        assert server.sequences() == ["NAC"] or (server.sequences() == ["NC"] and not answered)
        with server.connect() as client:
            assert client.request("/", "Connection: close").status == 200


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
