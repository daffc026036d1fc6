"""Tracked sockets of gevent's, without a server: waiting, deadlines, moves, and forgotten ones.

The process is not patched: gevent's sockets are the same.
"""

from __future__ import annotations

import gc
import math
import os
import socket
import ssl
import struct
import time
import warnings

import pytest
from accepting import dial, take
from servers import wait_for

pytest.importorskip("gevent")
import gevent
import gevent.socket
import gevent.ssl

from flask_rawsocket._connection.connection import life_of
from flask_rawsocket._connection.state import CloseReason, ConnState
from flask_rawsocket._gevent.listener import GreenletListener
from flask_rawsocket._gevent.sockets import GreenletSocket
from flask_rawsocket._gevent.tls import GreenletSSLSocket
from flask_rawsocket._sockets.deadlines import READ, WRITE, HeaderTimeoutError
from flask_rawsocket._sockets.tls_context import track_tls
from flask_rawsocket._tracking.hooks import Hooks


@pytest.fixture
def pair(tracker, stack):
    """A client's socket, and the one that was accepted."""
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return dial(stack, GreenletListener(listening, tracker))


def test_what_is_accepted(pair):
    """It is one of gevent's, which never blocks."""
    _, sock = pair
    assert isinstance(sock, GreenletSocket)
    assert isinstance(sock, gevent.socket.socket)
    assert not os.get_blocking(sock.fileno())


def test_a_read_lets_others_go_on(pair):
    """A greenlet that reads waits in the hub."""
    client, sock = pair
    reading = gevent.spawn(sock.recv, 10)
    gevent.sleep(0)
    client.sendall(b"hello")
    assert reading.get(timeout=10) == b"hello"
    assert sock.connection.state is ConnState.ACTIVE


def test_a_head_that_does_not_come(pair, tracker):
    """Its deadline is kept; other greenlets have gone on meanwhile."""
    _, sock = pair
    tracker.settings.header_timeout = 0.05
    sock.expect_head()
    turns = []
    other = gevent.spawn(lambda: [turns.append(gevent.sleep(0.01)) for _ in range(3)])
    with pytest.raises(HeaderTimeoutError):
        sock.recv(1)
    other.join(10)
    assert len(turns) == 3


@pytest.mark.parametrize("what", [READ, WRITE])
def test_is_ready(pair, what):
    """It tells at once, and after a while; two greenlets may ask at once."""
    client, sock = pair
    assert sock.is_ready(WRITE, 0)
    assert not sock.is_ready(READ, 0)
    if what == READ:
        asking = [gevent.spawn(sock.is_ready, READ, math.inf) for _ in range(2)]
        gevent.sleep(0)
        client.sendall(b"x")
        assert [each.get(timeout=10) for each in asking] == [True, True]
    else:
        assert sock.is_ready(WRITE, 10)


def test_is_ready_when_closed(pair):
    """It says so, as a read does."""
    _, sock = pair
    sock.close()
    with pytest.raises(OSError, match="closed"):
        sock.is_ready(READ, 1)


def test_a_timeout_of_the_views(pair):
    """It holds for a read, and for a write that finds no room."""
    _, sock = pair
    sock.settimeout(0.02)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    with pytest.raises(TimeoutError):
        sock.sendall(bytes(50_000_000))


def test_much(pair):
    """All of a response is written, however slowly it is read; and so is a file."""
    client, sock = pair
    sock.connection  # noqa: B018
    size = 3_000_000

    def read_all():
        with gevent.socket.socket(fileno=os.dup(client.fileno())) as reading:
            total = 0
            while total < 2 * size:
                total += len(reading.recv(65536))
            return total

    reading = gevent.spawn(read_all)
    sock.sendall(bytes(size))
    with open("/dev/shm/rawsocket-test", "w+b") as file:
        os.unlink(file.name)
        file.write(bytes(size))
        file.seek(0)
        assert sock.sendfile(file) == size
    assert reading.get(timeout=20) == 2 * size


def test_shut_down_from_elsewhere(pair):
    """A greenlet that reads finds the end, and no error."""
    _, sock = pair
    reading = gevent.spawn(sock.recv, 1)
    gevent.sleep(0)
    sock.shutdown_raw(socket.SHUT_RD)
    assert reading.get(timeout=10) == b""


def test_hijack(pair, tracker):
    """The descriptor moves to another socket of gevent's; the old one is empty."""
    client, sock = pair
    number = sock.fileno()
    connection, stream = take(tracker, client, sock)
    assert (sock.fileno(), stream.sock.fileno()) == (-1, number)
    assert isinstance(stream.sock, GreenletSocket)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sock.send(b"x")
    stream.sendall(b"hello")
    assert client.recv(5) == b"hello"
    stream.close()
    assert connection.close_reason is CloseReason.APP_CLOSED


def test_closed_by_another_greenlet(pair, tracker):
    """The owner's greenlet that reads finds the end."""
    client, sock = pair
    _, stream = take(tracker, client, sock)
    reading = gevent.spawn(stream.sock.recv, 1)
    gevent.sleep(0)
    stream.close()
    reading.join(10)
    assert reading.dead
    assert client.recv(1) == b""


@pytest.mark.parametrize("cycle", [False, True], ids=["alone", "in-a-cycle"])
def test_forgotten(pair, tracker, cycle):
    """It ends by the application, with a warning; the hooks still see its descriptor."""
    hooks, seen = Hooks(), []
    hooks.add([ConnState.CLOSED], lambda conn, *_: seen.append(conn.fileno() >= 0))
    tracker.add_hooks(hooks)
    client, sock = pair
    connection, stream = take(tracker, client, sock)
    holder = [stream]
    if cycle:
        holder.append(holder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del stream, holder
        gc.collect()
    assert [each.category for each in caught] == [ResourceWarning]
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert client.recv(1) == b""
    assert connection.close_reason is CloseReason.APP_FORGOT
    assert seen == [True]


def test_many_forgotten(tracker, stack):
    """The process goes on: it crashed where such a socket was brought back to life."""
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener = GreenletListener(listening, tracker)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(200):
            client, sock = dial(stack, listener)
            connection, stream = take(tracker, client, sock)
            holder = [stream, sock]
            holder.append(holder)
            del stream, holder, sock, connection
        gc.collect()
    wait_for(lambda: not tracker.connections, "all to be closed")


def test_it_is_nobodys(pair):
    """Without a connection it is a socket of gevent's, and nothing else."""
    client, sock = pair
    life = life_of(sock.connection)
    began = time.monotonic()
    copy = sock.dup()
    assert (copy.connection, copy.has_ended, copy.closes_at_once) == (None, False, False)
    copy.sendall(b"x")
    assert client.recv(1) == b"x"
    client.sendall(b"y")
    assert copy.recv(1) == b"y"
    copy.close()
    assert life.state is ConnState.NEW
    assert time.monotonic() - began < 10


def test_tls_with_a_peer_that_has_reset(pair, certificate):
    """The connection is closed, whoever has the descriptor by then."""
    client, sock = pair
    connection = sock.connection
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    track_tls(context, GreenletSSLSocket)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    with pytest.raises(OSError, match=r"\[Errno"):
        context.wrap_socket(sock, server_side=True)
    sock.close()
    assert connection.state is ConnState.CLOSED
    assert connection.close_reason.group is CloseReason.CLIENT


def test_a_context_made_too_early(certificate):
    """One of Python's own, made before gevent has patched ssl, is told apart, and left alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(TypeError, match="was made before gevent has patched ssl: make it later"):
        track_tls(context, GreenletSSLSocket)
    assert context.sslsocket_class is ssl.SSLSocket
