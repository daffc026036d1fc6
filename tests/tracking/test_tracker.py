"""The tracker: a connection's states and its end, with real sockets and no server."""

from __future__ import annotations

import gc
import socket
import threading

import pytest
from accepting import begin_request, dial, tcp_listener
from hooking import watch

from flask_rawsocket import CloseReason, ConnectionClosedError, ConnState, InvalidStateError
from flask_rawsocket._tracking.hooks import Hooks


def test_a_connections_life(tracker, stack):
    """Every change is in the map before its hook runs, and comes once."""
    hooks, seen = Hooks(), []
    hooks.add((), lambda conn, _old, new: seen.append((new, conn.key in tracker.connections)))
    tracker.add_hooks(hooks)
    client, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    assert seen == [], "a hook ran on the accept path"
    client.send(b"ab")
    sock.recv(1)
    sock.recv(1)
    sock.await_request()
    client.send(b"c")
    sock.recv_into(bytearray(1))
    sock.close()
    sock.close()
    new, active, idle, closed = ConnState.NEW, ConnState.ACTIVE, ConnState.IDLE, ConnState.CLOSED
    assert seen == [(new, True), (active, True), (idle, True), (active, True), (closed, False)]
    assert connection.state is closed
    assert len(tracker.connections) == 0


def test_the_descriptor_is_open_in_the_closed_hook(tracker, stack):
    """CLOSED is told before the descriptor is closed, and the socket is out of reach after."""
    hooks, seen = Hooks(), []
    hooks.add(
        [ConnState.CLOSED],
        lambda conn, *_: seen.append(conn.sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)),
    )
    tracker.add_hooks(hooks)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    sock.close()
    assert seen == [socket.SOCK_STREAM]
    with pytest.raises(ConnectionClosedError, match=r"CLOSED> has been closed"):
        connection.sock  # noqa: B018
    with pytest.raises(ConnectionClosedError):
        connection.fileno()


def test_late_events_are_dropped(tracker, stack):
    """What is reported of a connection that is closed already changes nothing."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    sock.close()
    seen, _hooks = watch(tracker)
    tracker.received(connection)
    tracker.responded(connection)
    tracker.closed(connection, CloseReason.APP_CLOSED)
    assert seen == []
    assert connection.close_reason.group is CloseReason.ERROR


def test_the_close_reason_is_asked_of_the_kernel(tracker, stack):
    """A peer that has left is why; one that is still there is not."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    client.close()
    assert sock.recv(1) == b""
    sock.close()
    assert connection.close_reason.group is CloseReason.CLIENT


def test_a_finalizer_that_closes(tracker, stack, monkeypatch):
    """One that runs while this very thread has the lock closes its socket, and nothing waits."""
    listener = tcp_listener(tracker, stack)

    class Session:
        def __init__(self, sock):
            self.sock = sock
            self.itself = self

        def __del__(self):
            self.sock.close()

    def collecting(*args):
        gc.collect()  # which may be whenever something is made
        return add(*args)

    _, first = dial(stack, listener)
    former = first.connection
    add = tracker.connections.add
    monkeypatch.setattr(tracker.connections, "add", collecting)
    gc.disable()
    stack.callback(gc.enable)
    Session(first)
    thread = threading.Thread(target=dial, args=(stack, listener), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits for itself"
    assert former.state is ConnState.CLOSED
    assert former not in tracker.connections.values()
    assert len(tracker.connections) == 1


def test_two_threads_close(tracker, stack):
    """Whoever comes second leaves the descriptor to the first, whose hooks still see it open."""
    hooks, entered, leave, seen = Hooks(), threading.Event(), threading.Event(), []

    def slow(conn, old, new):
        entered.set()
        leave.wait(10)
        seen.append(conn.fileno() >= 0)

    hooks.add([ConnState.CLOSED], slow)
    tracker.add_hooks(hooks)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    closer = threading.Thread(target=sock.close)
    closer.start()
    assert entered.wait(10)
    sock.close()
    leave.set()
    closer.join()
    assert seen == [True]
    assert sock.fileno() == -1


def test_a_hijack_that_is_not_in_the_table(tracker, stack):
    """A connection of which no byte was read is refused before the server lets go of it."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    begin_request(connection)
    with pytest.raises(InvalidStateError, match="cannot go from NEW to HIJACKED"):
        connection.hijack()
    sock.sendall(b"still the server's")
    assert client.recv(100) == b"still the server's"
    sock.close()
    assert len(tracker.connections) == 0
