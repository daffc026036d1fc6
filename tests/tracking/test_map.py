"""The map of connections: keys, and who has them when they come back."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

import pytest
from accepting import dial, tcp_listener, unix_listener

from flask_rawsocket import ConnState
from flask_rawsocket._tracking.hooks import Hooks
from flask_rawsocket._tracking.tracker import process_tracker


def test_1000_unix_connections(tracker, stack, tmp_path):
    """1,000 live UNIX connections have 1,000 keys, none of which is used again."""
    listener = unix_listener(tracker, stack, tmp_path / "s")
    with contextlib.ExitStack() as first:
        for _ in range(1000):
            dial(first, listener)
        keys = set(tracker.connections)
        assert len(keys) == 1000
        assert all(each.startswith(f"@{os.getpid()}.") for each in keys)
    assert len(tracker.connections) == 0
    for _ in range(1000):
        dial(stack, listener)
    assert keys.isdisjoint(tracker.connections)


def test_the_same_address_on_two_listeners(tracker, stack):
    """Two live connections from one address are two entries; one's end leaves the other."""
    listeners = [tcp_listener(tracker, stack) for _ in range(2)]
    client, first = dial(stack, listeners[0])
    _, second = dial(stack, listeners[1], source=client.getsockname())
    host, port = client.getsockname()
    second_name = "{}:{}".format(*listeners[1].getsockname())
    assert list(tracker.connections) == [f"{host}:{port}", f"{host}:{port}->{second_name}"]
    kept = second.connection
    first.close()
    assert list(tracker.connections.values()) == [kept]


def test_an_address_that_comes_back_early(tracker, stack):
    """A client that returns from its address before its old connection was noticed gets a key."""
    listener = tcp_listener(tracker, stack)
    client, first = dial(stack, listener)
    source = client.getsockname()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    client, second = dial(stack, listener, source=source)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    _, third = dial(stack, listener, source=source)
    keys = list(tracker.connections)
    assert len(set(keys)) == 3
    assert keys[2].endswith(f"#{third.connection.id}")
    first.close()
    assert list(tracker.connections.values()) == [second.connection, third.connection]


def test_a_slow_closed_hook_leaves_a_newer_entry(tracker, stack):
    """While CLOSED is being told, the address may be in use again; that entry stays."""
    hooks, entered, leave = Hooks(), threading.Event(), threading.Event()

    def slow(conn, old, new):
        entered.set()
        leave.wait(10)

    hooks.add([ConnState.CLOSED], slow)
    tracker.add_hooks(hooks)
    listener = tcp_listener(tracker, stack)
    client, first = dial(stack, listener)
    source = client.getsockname()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    closer = threading.Thread(target=first.close)
    closer.start()
    assert entered.wait(10)
    _, second = dial(stack, listener, source=source)
    assert tracker.connections["{}:{}".format(*source)] is second.connection
    leave.set()
    closer.join()
    assert tracker.connections["{}:{}".format(*source)] is second.connection


def test_a_child_starts_with_an_empty_map(stack, tmp_path):
    """After fork the connections are the parent's, and the child's overrides carry its own pid."""
    listener = unix_listener(process_tracker, stack, tmp_path / "s")
    dial(stack, listener)
    assert len(process_tracker.connections) == 1
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before = len(process_tracker.connections)
            _, sock = dial(stack, listener)
            named = sock.connection.key.startswith(f"@{os.getpid()}.")
            os.write(writer, f"{before} {named}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 100) == b"0 True"
    os.close(reader)
    assert len(process_tracker.connections) == 1


def test_states_of_the_map(tracker, stack):
    """The map finds connections by key, by id and by state, and lists a snapshot."""
    listener = tcp_listener(tracker, stack)
    client, first = dial(stack, listener)
    client.send(b"x")
    first.recv(1)
    _, second = dial(stack, listener)
    found = tracker.connections
    assert found.in_state(ConnState.ACTIVE) == [first.connection]
    assert found.in_state(ConnState.NEW, ConnState.ACTIVE) == [
        first.connection,
        second.connection,
    ]
    assert found.by_id(second.connection.id) is second.connection
    assert found.by_id(-1) is None
    assert repr(found) == "<ConnectionMap of 2>"
    for _ in found:
        second.close()
    assert len(found) == 1
    with pytest.raises(KeyError):
        found["nobody"]
    with pytest.raises(TypeError):
        found["x"] = None
