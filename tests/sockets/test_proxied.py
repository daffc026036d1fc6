"""A PROXY protocol header on tracked sockets, without a server."""

from __future__ import annotations

import contextlib

import pytest
from accepting import dial, tcp_listener, unix_listener
from proxying import V1, v2
from servers import wait_for

from flask_rawsocket import CloseReason, ConnState
from flask_rawsocket._sockets.deadlines import HeaderTimeoutError
from flask_rawsocket._sockets.plain import DONT_WAIT
from flask_rawsocket._sockets.proxied import allow_list, expecting, take_proxy_header
from flask_rawsocket._sockets.proxy_protocol import ProxyForbiddenError, ProxyHeaderError


@pytest.fixture
def pair(tracker, stack):
    """A client, and the socket that was accepted, which may begin with a header."""
    listener = tcp_listener(tracker, stack)
    listener.proxy_parser_for = expecting("auto", allow_list(["*"]))
    return dial(stack, listener)


def test_behind_a_header(pair):
    """The first read returns what is behind it, when that is there; the second what follows."""
    client, sock = pair
    client.sendall(V1[:9])
    client.sendall(V1[9:] + b"GET")
    assert sock.recv(4096) == b"GET"
    assert sock.connection.state is ConnState.ACTIVE
    assert sock.connection.proxy.protocol == "TCP4"
    client.sendall(V1)
    assert sock.recv(4096) == V1


def test_no_wait(pair):
    """A read that is not to wait has nothing until a request begins, and the connection is NEW."""
    client, sock = pair
    for part in (V1[:3], V1[3:]):
        client.sendall(part)
        with pytest.raises(BlockingIOError):
            wait_for(lambda: sock.recv(4096, DONT_WAIT) and None)
        assert sock.connection.state is ConnState.NEW
    wait_for(lambda: not_there(sock), "the header")
    assert sock.connection.proxy is not None


def not_there(sock):
    """Read what is there; tell whether the header has been."""
    with pytest.raises(BlockingIOError):
        sock.recv(4096, DONT_WAIT)
    return sock.duties.proxy_parser is None


@pytest.mark.parametrize("into", [False, True])
def test_no_more_than_is_asked_for(pair, into):
    """What was held while it might have been a header is counted."""
    client, sock = pair
    client.sendall(b"PRI * HTTP/2.0")
    sizes = iter(range(14))

    def read():
        if not into:
            return sock.recv(6)
        buffer = bytearray(6)
        return bytes(buffer[: sock.recv_into(buffer)])

    data = b""
    for _ in sizes:
        part = read()
        assert 0 < len(part) <= 6
        data += part
        if len(data) == 14:
            break
    assert data == b"PRI * HTTP/2.0"


@pytest.mark.parametrize("parts", [[b"PRI * HTTP/2.0"], [b"P", b"RI * HTTP/2.0"]])
def test_a_preface(pair, parts):
    """Frames of HTTP/2 behind a header, or behind none, are no request."""
    client, sock = pair
    sock.duties.proxy_parser.before_preface = True
    for part in parts:
        client.sendall(part)
    data = b""
    while len(data) < 14:
        data += sock.recv(14 - len(data))
    assert data == b"".join(parts)
    assert sock.connection.state is ConnState.NEW


def test_not_a_byte_beyond(pair):
    """What is behind a header stays on the socket, and no header is waited for where none comes."""
    client, sock = pair
    client.sendall(v2() + b"\x16\x03\x01")
    take_proxy_header(sock)
    assert sock.connection.proxy.version == 2
    assert sock.recv(4096) == b"\x16\x03\x01"


def test_none_before_tls(pair):
    client, sock = pair
    client.sendall(b"\x16\x03\x01")
    take_proxy_header(sock)
    assert sock.duties.proxy_parser is not None  # inside of TLS one may come
    assert sock.recv(4096) == b"\x16\x03\x01"


def test_nothing_behind_it(pair):
    """Who is not to wait hears of it, and finds the header read."""
    client, sock = pair
    with pytest.raises(BlockingIOError):
        take_proxy_header(sock, wait=False)
    client.sendall(V1)
    with pytest.raises(BlockingIOError):
        wait_for(lambda: take_proxy_header(sock, wait=False))
    wait_for(lambda: is_read(sock), "the header")
    client.sendall(b"\x16")
    take_proxy_header(sock)
    assert sock.recv(1) == b"\x16"


def is_read(sock):
    if sock.duties.proxy_parser is not None:
        with pytest.raises(BlockingIOError):
            take_proxy_header(sock, wait=False)
    return sock.connection.proxy is not None


def test_the_end_of_the_stream(pair):
    """It is no header, and no request."""
    client, sock = pair
    client.sendall(V1[:5])
    client.close()
    take_proxy_header(sock)
    assert sock.recv(10) == b""
    assert sock.connection.state is ConnState.NEW


@pytest.mark.parametrize("wait", [True, False])
def test_what_goes_on_as_none(pair, wait):
    """Where TLS comes next, half a header is not put before what that carries, nor dropped."""
    client, sock = pair
    connection = sock.connection
    client.sendall(V1[:3])
    wait_for(lambda: is_held(sock), "the half")
    client.sendall(b"\x16\x03\x01")
    with pytest.raises(ProxyHeaderError, match="and is none"):
        wait_for(lambda: take(sock, wait=wait), "the rest")
    sock.close()
    assert connection.close_reason is CloseReason.BAD_PROXY_HEADER


def take(sock, *, wait):
    """Take what is there of a header, if anything is."""
    with contextlib.suppress(BlockingIOError):
        take_proxy_header(sock, wait=wait)


def is_held(sock):
    take(sock, wait=False)
    return sock.duties.in_proxy_header


def test_malformed(pair):
    """It is why the connection ends, and what comes behind it is no request."""
    client, sock = pair
    connection = sock.connection
    client.sendall(b"PROXY nonsense\r\nGET")
    with pytest.raises(ProxyHeaderError):
        sock.recv(100)
    sock.close()
    assert connection.close_reason is CloseReason.BAD_PROXY_HEADER


def test_too_late(tracker, pair):
    """A header has the time of a head."""
    client, sock = pair
    tracker.settings.header_timeout = 0.05
    client.sendall(V1[:5])
    connection = sock.connection
    with pytest.raises(HeaderTimeoutError):
        sock.recv(100)
    sock.close()
    assert connection.close_reason is CloseReason.HEAD_TOO_SLOW


@pytest.mark.parametrize(
    ("allowed", "peer", "expected"),
    [
        (["127.0.0.1", "::1"], "127.0.0.1", True),
        (["127.0.0.1", "::1"], "::1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["10.0.0.0/8"], "10.1.2.3", True),
        (["10.0.0.0/8"], "2001:db8::1", False),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["*"], "192.0.2.1", True),
        ([], "192.0.2.1", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["127.0.0.1"], "::ffff:127.0.0.1", False),
        (["127.0.0.1"], "", False),
    ],
)
def test_who_may(allowed, peer, expected):
    assert allow_list(allowed)((peer, 1)) is expected


def test_who_may_not(tracker, stack):
    """A TCP peer that is not on the list may not send one; a UNIX peer always may."""
    listener = tcp_listener(tracker, stack)
    listener.proxy_parser_for = expecting("v1", allow_list([]))
    client, sock = dial(stack, listener)
    client.sendall(V1)
    with pytest.raises(ProxyForbiddenError):
        take_proxy_header(sock)
    assert allow_list([])("") is True


def test_a_unix_peer(tracker, stack, tmp_path):
    listener = unix_listener(tracker, stack, tmp_path / "s")
    listener.proxy_parser_for = expecting("v1", allow_list([]))
    client, sock = dial(stack, listener)
    client.sendall(V1 + b"GET")
    assert sock.recv(100) == b"GET"
