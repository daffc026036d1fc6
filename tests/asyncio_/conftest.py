"""The fixtures of these tests."""

from __future__ import annotations

import contextlib

import pytest
from accepting import begin_request, dial, tcp_listener
from servers import wait_for
from streaming import secured

from flask_rawsocket import ConnState
from flask_rawsocket._tracking.tracker import ConnectionTracker


@pytest.fixture
def tracker():
    tracker = ConnectionTracker()
    yield tracker
    assert tracker.stop_handlers(5)


@pytest.fixture(params=["plain", "tls"])
def connect(request, tracker, certificate):
    """A function that connects: it gives a client's socket, and the Connection that was accepted.

    That has a request in hand.  All of them are to be CLOSED in the end.
    """
    with contextlib.ExitStack() as stack:
        listener, made = tcp_listener(tracker, stack), []

        def connect():
            client, sock = dial(stack, listener)
            client.settimeout(10)
            if request.param == "tls":
                client, sock = secured(client, sock, certificate, stack)
            made.append(sock.connection)
            client.sendall(b"x")
            assert sock.recv(1) == b"x"
            # Whatever the handshake has sent is acknowledged by the answer's answer.
            sock.sendall(b"y")
            assert client.recv(1) == b"y"
            client.sendall(b"z")
            assert sock.recv(1) == b"z"
            begin_request(made[-1])
            return client, made[-1]

        yield connect
        wait_for(lambda: all(each.state is ConnState.CLOSED for each in made), "the handlers' ends")


@pytest.fixture
def pair(connect):
    """One such client's socket, and its Connection."""
    return connect()
