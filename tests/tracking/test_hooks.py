"""Hooks on changes of state: when they run, and what becomes of those that fail."""

from __future__ import annotations

import gc
import logging
import threading

import pytest
from accepting import dial, tcp_listener
from hooking import watch

from flask_rawsocket import ConnState
from flask_rawsocket._tracking.hooks import Hooks


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


def test_a_hook_that_returns_a_coroutine(tracker, stack, caplog):
    """A function that merely makes one does nothing, and the log says so by its name."""
    hooks = Hooks()

    async def later():
        """Be awaited by nobody."""

    def makes_one(conn, old, new):
        return later()

    hooks.add((ConnState.CLOSED,), makes_one)
    tracker.add_hooks(hooks)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    with caplog.at_level(logging.ERROR):
        sock.close()
    (text,) = [each.getMessage() for each in caplog.records]
    assert "makes_one has returned a coroutine, which nobody awaits" in text


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
