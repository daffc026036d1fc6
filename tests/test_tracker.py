"""The tracker: states, the map and the hooks, with real sockets and no server."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import socket
import threading

import pytest
from accepting import dial, tcp_listener, unix_listener

from flask_rawsocket import CloseReason, ConnectionClosedError, ConnState
from flask_rawsocket._tracking.hooks import Hooks
from flask_rawsocket._tracking.tracker import process_tracker


def watch(tracker, *states):
    """Give a list that fills with `(id, old, new)`, and the hooks, to be kept alive."""
    hooks, seen = Hooks(), []
    hooks.add(states, lambda conn, old, new: seen.append((conn.id, old, new)))
    tracker.add_hooks(hooks)
    return seen, hooks


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
    tracker.closed(connection, CloseReason.APP)
    assert seen == []
    assert connection.close_reason is CloseReason.ERROR


def test_the_close_reason_is_asked_of_the_kernel(tracker, stack):
    """A peer that has left is why; one that is still there is not."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    client.close()
    assert sock.recv(1) == b""
    sock.close()
    assert connection.close_reason is CloseReason.CLIENT


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


def test_a_failing_hook_is_logged_and_the_next_runs(tracker, stack, caplog):
    """A hook that raises is logged with its connection and changes nothing."""
    hooks = Hooks()

    def fails(conn, old, new):
        raise LookupError("no such thing")

    hooks.add((), fails)
    tracker.add_hooks(hooks)
    seen, _kept = watch(tracker)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    with caplog.at_level(logging.ERROR):
        sock.close()
    assert [new for *_, new in seen] == [ConnState.NEW, ConnState.CLOSED]
    assert f"<Connection {connection.id} " in caplog.text
    assert "no such thing" in caplog.text


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_hook_that_exits(tracker, stack, caplog, kind):
    """Off the main thread nobody would hear of it: it is logged, too, and the next runs."""
    hooks = Hooks()

    def leaves(conn, old, new):
        raise kind("a hook that leaves")

    hooks.add([ConnState.NEW], leaves)
    tracker.add_hooks(hooks)
    seen, _kept = watch(tracker)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    thread = threading.Thread(target=tracker.run_hooks, args=(sock.connection,))
    thread.start()
    thread.join()
    assert [new for *_, new in seen] == [ConnState.NEW]
    assert "a hook that leaves" in caplog.text


def test_a_hook_that_exits_on_the_main_thread(tracker, stack):
    """There it may be a signal's handler, by which the server is to stop."""
    hooks = Hooks()

    def leaves(conn, old, new):
        raise SystemExit

    hooks.add([ConnState.NEW], leaves)
    tracker.add_hooks(hooks)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    with pytest.raises(SystemExit):
        tracker.run_hooks(sock.connection)


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


def test_a_hook_may_close_its_own_connection(tracker, stack):
    """The calls that are due already come first, then those of the close."""
    hooks, seen = Hooks(), []
    hooks.add([ConnState.ACTIVE], lambda conn, *_: conn.sock.close())
    hooks.add((), lambda _conn, _old, new: seen.append(new))
    tracker.add_hooks(hooks)
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.send(b"x")
    sock.recv(1)
    assert seen == [ConnState.NEW, ConnState.ACTIVE, ConnState.CLOSED]


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


def test_who_closes_waits_for_the_hooks(tracker, stack):
    """The descriptor stays open until calls that another thread is making have been made."""
    hooks, entered, leave, seen = Hooks(), threading.Event(), threading.Event(), []

    def new(conn, old, new):
        entered.set()
        leave.wait(10)
        seen.append(conn.fileno() >= 0)

    hooks.add([ConnState.NEW], new)
    hooks.add([ConnState.CLOSED], lambda *_: seen.append("closed"))
    tracker.add_hooks(hooks)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    runner = threading.Thread(target=tracker.run_hooks, args=(sock.connection,))
    runner.start()
    assert entered.wait(10)
    closer = threading.Thread(target=sock.close)
    closer.start()
    assert seen == []
    leave.set()
    runner.join()
    closer.join()
    assert seen == [True, "closed"]


def test_hooks_go_with_their_application(tracker, stack):
    """The tracker does not keep alive the hooks of an application that is gone."""
    seen, hooks = watch(tracker)
    assert tracker.has_hooks(ConnState.NEW)
    del hooks
    gc.collect()
    assert not tracker.has_hooks(ConnState.NEW)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    sock.close()
    assert seen == []


def test_adding_hooks_twice(tracker, stack):
    """Hooks that are added for two applications are called once."""
    seen, hooks = watch(tracker)
    tracker.add_hooks(hooks)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    sock.close()
    assert len(seen) == 2


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
