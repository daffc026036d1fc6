"""What is left open when a server ends: connections that were hijacked, and all others."""

from __future__ import annotations

import contextlib
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from .._connection.connection import Connection
    from .tracker import ConnectionTracker

__all__ = ["close_hijacked", "close_rest"]

_TICK: Final = 0.5
"""Seconds between two calls of what the caller wants to be called meanwhile."""


def close_hijacked(
    tracker: ConnectionTracker,
    patience: float,
    deadline: float,
    tick: Callable[[], object] = bool,
) -> None:
    """End what was hijacked, by the stop: handlers are cancelled, other owners read the end.

    Args:
        tracker: whose connections.
        patience: the seconds that they have to close.
        deadline: when to wait for slow hooks no more, as a time of ``time.monotonic()``.
        tick: called again and again while slow hooks are run.
    """
    hijacked = [each for each in tracker.connections.values() if each.state is ConnState.HIJACKED]
    for connection in hijacked:
        # Before shutdown(): afterwards the kernel cannot tell our end from the peer's.
        life = life_of(connection)
        if ending.guess(life) is CloseReason.APP_CLOSED:
            ending.note(life, tracker.stop_reason)
    tracker.stop_handlers(patience / 2)
    for connection in hijacked:
        _say_goodbye(connection)
    if not tracker.wait_hijacked(patience / 2):
        _close_all(tracker, hijacked, deadline, tick)


def close_rest(
    tracker: ConnectionTracker,
    deadline: float,
    tick: Callable[[], object] = bool,
    *,
    among: Collection[Connection] | None = None,
) -> None:
    """End what is left, by the stop where it has no other reason; return when the hooks have run.

    The descriptors stay open, for threads that are reading or waiting: they find the end.

    Args:
        tracker: whose connections.
        deadline: when to wait for slow hooks no more, as a time of ``time.monotonic()``.
        tick: called again and again while slow hooks are run.
        among: the connections that the server has; None for all of the process.
    """
    rest = [each for each in tracker.connections.values() if among is None or each in among]
    for connection in rest:
        # Before its thread, which may be in a view, finds the end and says why.
        ending.note(life_of(connection), tracker.stop_reason)
    for connection in rest:
        # Their threads may be in a call, of OpenSSL's too: no close_notify then, a FIN only.
        if life_of(connection).exchange is None:
            _say_goodbye(connection)
        else:
            _shut_down(connection)
    _close_all(tracker, rest, deadline, tick)


def _close_all(
    tracker: ConnectionTracker,
    connections: Iterable[Connection],
    deadline: float,
    tick: Callable[[], object],
) -> None:
    """Report the end of each; where there are hooks, in threads, so that none waits for another."""
    for connection in connections:
        if tracker.has_hooks_of_end(connection):
            tracker.hook_runner.submit(partial(tracker.closed, connection))
        else:
            tracker.closed(connection)
    while (left := deadline - time.monotonic()) > 0:
        if tracker.hook_runner.wait(min(left, _TICK)):
            break
        tick()


def _say_goodbye(connection: Connection) -> None:
    """Let the peer see the end, before hooks take their time."""
    sock: Any = life_of(connection).sock
    if sock is not None:
        sock.say_goodbye()


def _shut_down(connection: Connection) -> None:
    sock: Any = life_of(connection).sock
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown_raw(socket.SHUT_RDWR)
