"""What is left open when a server ends: connections that were taken over, and all others."""

from __future__ import annotations

import contextlib
import socket
from concurrent import futures
from typing import TYPE_CHECKING, Final

from .._connection.state import CloseReason, ConnState
from .tracker import guess_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._connection.connection import Connection
    from .tracker import ConnectionTracker

__all__ = ["close_rest", "close_taken"]

_MOST_AT_ONCE: Final = 64
"""How many connections are closed at once, where hooks may take their time."""

_TICK: Final = 0.5
"""Seconds between two calls of what the caller wants to be called meanwhile."""


def close_taken(
    tracker: ConnectionTracker, patience: float, tick: Callable[[], object] = bool
) -> None:
    """End what was taken over, as SHUTDOWN: handlers are cancelled, other owners read the end.

    Args:
        tracker: whose connections.
        patience: the seconds that they have to close.
        tick: called again and again while slow hooks are run.
    """
    taken = [each for each in tracker.connections.values() if each.state is ConnState.HIJACKED]
    for connection in taken:
        # Now: what we do next looks like the peer's doing.
        if connection._ending is None and guess_reason(connection) is CloseReason.APP:
            connection._ending = CloseReason.SHUTDOWN
    tracker.stop_handlers(patience / 2)
    for connection in taken:
        _shut_down(connection)
    if not tracker.wait_hijacked(patience / 2):
        _close_all(tracker, taken, tick)


def close_rest(tracker: ConnectionTracker, tick: Callable[[], object]) -> None:
    """End what is left, as SHUTDOWN where it has no other reason; return when the hooks have run.

    The descriptors stay open, for threads that are reading or waiting: they find the end.

    Args:
        tracker: whose connections.
        tick: called again and again while slow hooks are run.
    """
    rest = list(tracker.connections.values())
    for connection in rest:
        # Before its thread, which may be in a view, finds the end and says why.
        if connection._ending in (None, CloseReason.ERROR):
            connection._ending = CloseReason.SHUTDOWN
    _close_all(tracker, rest, tick)
    for connection in rest:
        _shut_down(connection)


def _close_all(
    tracker: ConnectionTracker, connections: Iterable[Connection], tick: Callable[[], object]
) -> None:
    """Report the end of each; where there are hooks, in threads, so that none waits for another."""
    if not tracker.has_hooks(ConnState.CLOSED):
        for connection in connections:
            tracker.closed(connection)
        return
    with futures.ThreadPoolExecutor(_MOST_AT_ONCE, "rawsocket-end") as pool:
        closing = []
        for connection in connections:
            try:
                closing.append(pool.submit(tracker.closed, connection))
            except RuntimeError:  # there is no thread to be had
                tracker.closed(connection)
        while futures.wait(closing, _TICK).not_done:
            tick()


def _shut_down(connection: Connection) -> None:
    sock = connection._sock
    if sock is not None:
        with contextlib.suppress(OSError):
            # The base class's: that of a tracked socket notes more, that of TLS drops the session.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
