"""The lingering close, of a pair of sockets."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from flask_rawsocket.workers import _lingering
from flask_rawsocket.workers._lingering import drained, linger


@pytest.fixture
def pair(stack):
    """The server's socket, and its peer's."""
    return [stack.enter_context(each) for each in socket.socketpair()]


def test_the_end(pair):
    """Nothing more comes of a peer that has closed."""
    sock, peer = pair
    peer.sendall(b"x" * 1000)
    assert not drained(sock)
    peer.close()
    assert drained(sock)


def test_turns(pair):
    """What is more than one turn's is left for the next one."""
    sock, peer = pair
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    peer.sendall(b"x" * 100_000)
    peer.close()
    assert not drained(sock)
    assert drained(sock)


def test_linger(pair):
    """A peer may send as much as it likes, and finds the end behind what it was sent."""
    sock, peer = pair
    sock.sendall(b"response")
    thread = threading.Thread(target=linger, args=[sock])
    thread.start()
    peer.sendall(bytes(2**22))
    assert peer.recv(100) == b"response"
    assert peer.recv(100) == b""
    peer.close()
    thread.join()
    assert sock.recv(1) == b""


def test_its_time(pair, monkeypatch):
    """A peer that stays has its time once: who lingers again finds the end."""
    monkeypatch.setattr(_lingering, "LINGER_TIMEOUT", 0.01)
    sock, peer = pair
    linger(sock)
    sock.settimeout(10)
    began = time.monotonic()
    assert sock.recv(1) == b""
    assert time.monotonic() - began < 5
    with pytest.raises(BrokenPipeError):
        peer.sendall(b"x")
