"""The rows of the table in `docs/client-gone.md` that no other file tests."""

from __future__ import annotations

import contextlib
import select
import socket

import pytest
from servers import wait_for

from flask_rawsocket.sockinfo import PeerStatus, peer_status


@pytest.fixture
def tcp():
    """A server's and a client's end of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with server, client:
        yield server, client


@pytest.fixture
def unix():
    """The two ends of a UNIX connection."""
    server, client = socket.socketpair()
    with server, client:
        yield server, client


def fill(sock):
    """Send until no more is taken."""
    sock.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while select.select([], [sock], [], 0.2)[1]:
            sock.send(bytes(65536))


def test_tcp_close_and_then_a_write(tcp):
    """A close looks like a half-close until something is written to it."""
    server, client = tcp
    client.close()
    wait_for(lambda: peer_status(server) is PeerStatus.FIN_RECEIVED)
    server.send(b"x")
    wait_for(lambda: peer_status(server) is PeerStatus.RESET)


def test_tcp_half_close_and_then_a_write(tcp):
    """A half-close stays one."""
    server, client = tcp
    client.shutdown(socket.SHUT_WR)
    wait_for(lambda: peer_status(server) is PeerStatus.FIN_RECEIVED)
    server.send(b"x")
    assert client.recv(1) == b"x"
    assert peer_status(server) is PeerStatus.FIN_RECEIVED


def test_tcp_close_behind_more_than_the_window(tcp):
    """The end cannot arrive before what is in front of it has been read."""
    server, client = tcp
    fill(client)
    client.close()
    assert peer_status(server) is PeerStatus.OPEN
    server.settimeout(20)
    while peer_status(server) is PeerStatus.OPEN:
        assert server.recv(1 << 20)


def test_unix_close_behind_all_that_fits(unix):
    """Over UNIX it is seen at once."""
    server, client = unix
    fill(client)
    client.close()
    assert peer_status(server) is PeerStatus.CLOSED
