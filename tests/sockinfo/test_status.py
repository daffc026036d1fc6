"""``peer_status``: every way in which a peer goes, and what of it can be told."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import textwrap

import pytest
from servers import wait_for

from flask_rawsocket.errors import ConnectionClosedError
from flask_rawsocket.sockinfo import PeerStatus, abort, peer_status, tcp_info

TCP = ["tcp4", "tcp6", "mapped"]


@pytest.mark.parametrize("kind", [*TCP, "unix"])
@pytest.mark.parametrize("data", [b"", b"unread"])
def test_alive(pair, kind, data):
    """A peer that is there is OPEN, with unread data and without."""
    server, client = pair(kind)
    client.sendall(data)
    assert peer_status(server) is PeerStatus.OPEN
    assert peer_status(client) is PeerStatus.OPEN


@pytest.mark.parametrize("kind", TCP)
@pytest.mark.parametrize("data", [b"", b"unread"])
@pytest.mark.parametrize("how", ["half", "close"])
def test_tcp_fin(pair, kind, data, how):
    """Over TCP a close and a half-close look alike, and unread data hides neither."""
    server, client = pair(kind)
    client.sendall(data)
    client.shutdown(socket.SHUT_WR) if how == "half" else client.close()
    wait_for(lambda: peer_status(server) is PeerStatus.FIN_RECEIVED)
    assert server.recv(100) == data


@pytest.mark.parametrize("data", [b"", b"unread"])
def test_unix_tells_half_close_and_close_apart(pair, data):
    """Over a UNIX socket a half-close is FIN_RECEIVED and a close is CLOSED."""
    server, client = pair("unix")
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    assert peer_status(server) is PeerStatus.FIN_RECEIVED
    client.close()
    assert peer_status(server) is PeerStatus.CLOSED
    assert server.recv(100) == data


def test_unix_peer_that_left_our_data_unread(pair):
    """A UNIX peer that closes without reading what we sent has reset the connection."""
    server, client = pair("unix")
    server.sendall(b"never read")
    client.close()
    assert peer_status(server) is PeerStatus.RESET


@pytest.mark.parametrize("kind", TCP)
@pytest.mark.parametrize("data", [b"", b"unread"])
def test_tcp_reset(pair, kind, data):
    """``abort`` and close send RST; the peer sees RESET as often as it looks."""
    server, client = pair(kind)
    client.sendall(data)
    abort(client)
    client.close()
    wait_for(lambda: peer_status(server) is PeerStatus.RESET)
    assert peer_status(server) is PeerStatus.RESET
    assert tcp_info(server).state == "CLOSE"
    if data:  # the kernel still hands out what had arrived before
        assert server.recv(100) == data
        assert peer_status(server) is PeerStatus.RESET
    with pytest.raises(ConnectionResetError):
        server.recv(100)
    assert peer_status(server) is PeerStatus.CLOSED  # told once, and forgotten by the kernel


def test_both_directions_over(pair):
    """When we have shut down our direction too, nothing is left: CLOSED."""
    server, client = pair("tcp4")
    client.shutdown(socket.SHUT_WR)
    wait_for(lambda: peer_status(server) is PeerStatus.FIN_RECEIVED)
    server.shutdown(socket.SHUT_WR)
    wait_for(lambda: peer_status(server) is PeerStatus.CLOSED)


def test_our_own_half_close_is_not_the_peers(pair):
    """Shutting down our direction does not make the peer gone."""
    for kind in ("tcp4", "unix"):
        server, _client = pair(kind)
        server.shutdown(socket.SHUT_WR)
        assert peer_status(server) is PeerStatus.OPEN


def test_an_abort_waits_for_the_last_duplicate(pair):
    """While a duplicate lives nothing is sent; a UNIX socket takes the call too."""
    server, client = pair("tcp4")
    twin = client.dup()
    abort(client)
    client.close()
    assert peer_status(server) is PeerStatus.OPEN
    twin.close()
    left, _right = pair("unix")
    abort(left)


def test_tls_close_notify_is_data_to_the_kernel(tls):
    """A TLS goodbye without a FIN leaves OPEN; the FIN behind it is seen with it unread."""
    with tls() as (server, client):
        client.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):  # sent, and not answered
            client.unwrap()
        assert peer_status(server) is PeerStatus.OPEN
        client.shutdown(socket.SHUT_WR)
        wait_for(lambda: peer_status(server) is PeerStatus.FIN_RECEIVED)


def test_a_descriptor_closed_behind_our_back(pair):
    """A number that is no longer open is a closed connection, not an exception of poll."""
    server, _client = pair("tcp4")
    twin = socket.socket(fileno=os.dup(server.fileno()))
    os.close(twin.fileno())
    with pytest.raises(ConnectionClosedError):
        peer_status(twin)
    twin.detach()


def test_a_patched_select_is_not_used():
    """Whatever replaced ``select.poll`` before the import, as gevent does, is not asked."""
    code = """
        import select, socket
        def patched(*args):
            raise AssertionError("the patched poll was used")
        select.poll = patched
        from flask_rawsocket.sockinfo import peer_status
        left, right = socket.socketpair()
        left.close()
        print(peer_status(right))
        right.close()
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("CLOSED\n", "")
