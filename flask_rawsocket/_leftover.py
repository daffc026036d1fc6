"""What is left open when a server ends: connections that were taken over, and all others."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from ._state import CloseReason, ConnState
from .tracker import guess_reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from .connection import Connection
    from .tracker import ConnectionTracker

__all__ = ["close_rest", "close_taken"]


def close_taken(tracker: ConnectionTracker, patience: float) -> None:
    """End what was taken over, as SHUTDOWN: handlers are cancelled, other owners read the end.

    Args:
        tracker: whose connections.
        patience: the seconds that they have to close.
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
        for connection in taken:
            tracker.closed(connection)


def close_rest(tracker: ConnectionTracker, each_done: Callable[[], object]) -> None:
    """Close what is left; the hooks run here, since nobody else will wait for them.

    Args:
        tracker: whose connections.
        each_done: called after each; a slow hook may have taken its time.
    """
    for connection in tracker.connections.values():
        is_ours = connection._exchange is None and connection.state is not ConnState.HIJACKED
        # Before its thread, which may be in a view, finds the end and says why.
        unfinished = connection._ending in (None, CloseReason.ERROR)
        tracker.closed(connection, CloseReason.SHUTDOWN if unfinished else None)
        _shut_down(connection)
        sock = connection._sock
        if sock is not None and is_ours:  # else the thread that has it finds the end, and closes
            with contextlib.suppress(OSError):
                sock.close()
        each_done()


def _shut_down(connection: Connection) -> None:
    sock = connection._sock
    if sock is not None:
        with contextlib.suppress(OSError):
            # The base class's: that of a tracked socket notes more, that of TLS drops the session.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
