"""The watcher, over real connections: who is told, who is not, and what it costs."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from accepting import dial, tcp_listener, unix_listener
from servers import wait_for

from flask_rawsocket import ConnectionClosedError


def test_it_is_told_once(tracker, stack):
    """A callback comes when the peer closes, once, and data before that does not matter."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = []
    sock.connection.on_disconnect(lambda: told.append(1))
    client.sendall(b"data that nobody reads")
    client.close()
    wait_for(lambda: told, "the callback")
    assert sock.recv(100) == b"data that nobody reads", "the watcher has read from the stream"
    sock.close()
    assert told == [1]


def test_a_peer_that_is_gone_already(tracker, stack):
    """A callback that comes late is called at once."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.close()
    told = threading.Event()
    wait_for(sock.connection.is_disconnected, "the FIN")
    sock.connection.on_disconnect(told.set)
    assert told.wait(5)


def test_it_can_be_taken_back(tracker, stack):
    """What was taken back is not called, even while another of the same connection is."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = []
    cancel = sock.connection.on_disconnect(lambda: told.append("first"))
    sock.connection.on_disconnect(lambda: told.append("second"))
    cancel()
    cancel()
    client.close()
    wait_for(lambda: told, "the callback")
    assert told == ["second"]


def test_it_is_forgotten_with_its_request(tracker, stack):
    """The end of the request ends the watching."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.sendall(b"x")
    sock.recv(1)
    sock.connection.on_disconnect(lambda: pytest.fail("called after its request"))
    assert len(tracker._watcher) == 1
    sock.await_request()
    assert len(tracker._watcher) == 0


def test_it_is_forgotten_before_the_descriptor_closes(tracker, stack):
    """A closed connection is not watched, and its descriptor may be used again at once."""
    listener = tcp_listener(tracker, stack)
    told = []
    for number in range(50):
        client, sock = dial(stack, listener)
        sock.connection.on_disconnect(lambda number=number: told.append(number))
        if number % 2:
            client.close()
            wait_for(lambda number=number: number in told, "the callback")
        sock.close()
    assert len(tracker._watcher) == 0
    assert set(range(1, 50, 2)) <= set(told)


def test_a_closed_connection_is_not_watched(tracker, stack):
    """Watching what is closed is an error, also when it closes while one waits."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    sock.close()
    with pytest.raises(ConnectionClosedError):
        connection.on_disconnect(print)
    with pytest.raises(ConnectionClosedError):
        connection.wait_disconnected(0)


def test_a_failing_callback(tracker, stack, caplog):
    """A callback that fails is logged, and the others are called."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = threading.Event()

    def fails():
        raise LookupError("no such thing")

    sock.connection.on_disconnect(fails)
    sock.connection.on_disconnect(told.set)
    client.close()
    assert told.wait(5)
    wait_for(lambda: "no such thing" in caplog.text, "the log")


def test_a_slow_callback(tracker, stack):
    """A callback that takes its time keeps no other waiting."""
    listener = tcp_listener(tracker, stack)
    leave, told = threading.Event(), threading.Event()
    slow_client, slow = dial(stack, listener)
    quick_client, quick = dial(stack, listener)
    slow.connection.on_disconnect(lambda: leave.wait(10))
    quick.connection.on_disconnect(told.set)
    slow_client.close()
    quick_client.close()
    assert told.wait(5)
    leave.set()


def test_waiting_for_a_peer_that_stays(tracker, stack):
    """`wait_disconnected` gives up in time, and leaves nothing behind."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    assert sock.connection.wait_disconnected(0.05) is False
    assert len(tracker._watcher) == 0


def test_1000_watched_connections_cost_nothing(tracker, stack, tmp_path):
    """A thousand watched and idle connections use no processor time to speak of."""
    listener = unix_listener(tracker, stack, tmp_path / "s")
    clients = []
    for _ in range(1000):
        client, sock = dial(stack, listener)
        client.sendall(b"unread")
        sock.connection.on_disconnect(lambda: None)
        clients.append(client)
    never = threading.Event()
    before = time.process_time()
    never.wait(1.0)
    assert time.process_time() - before < 0.05
    assert len(tracker._watcher) == 1000
    for client in clients[:10]:
        client.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: len(tracker._watcher) == 990, "ten of them")
