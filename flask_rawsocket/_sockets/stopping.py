"""How a server stops that nobody waits for: what is queued is served, requests in hand may end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._tracking.shutdown import close_hijacked

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._tracking.tracker import ConnectionTracker
    from .listener import Listener

__all__ = [
    "HOOKS_TIMEOUT",
    "REQUESTS_TIMEOUT",
    "close_queued",
    "end_hijacked",
    "serve_queued",
    "wait_for_requests",
]

REQUESTS_TIMEOUT: Final = 5.0
"""The seconds that requests in hand have; a second Ctrl-C ends the server at once."""

SILENT_TIMEOUT: Final = 1.0
"""Those that a client has which has sent nothing yet."""

OWNERS_TIMEOUT: Final = 1.0
"""Those that owners of hijacked connections have."""

CLOSING_TIMEOUT: Final = 0.5
"""And those that they have to close, once they are told to."""

HOOKS_TIMEOUT: Final = 5.0
"""Those that hooks have which other threads are running when the process ends."""


def serve_queued(listener: Listener, serve_next: Callable[[], object]) -> None:
    """Close `listener`, and serve what the kernel has queued in it.

    Args:
        listener: the server's.
        serve_next: accepts a connection and serves it, or has a thread serve it.
    """
    listener.drain()
    silent_until = time.monotonic() + SILENT_TIMEOUT
    while listener.bring_forward(max(0.0, silent_until - time.monotonic())):
        serve_next()
    close_queued(listener)


def close_queued(listener: Listener) -> None:
    """Close what `listener` has queued, and what nobody is to serve any more."""
    while listener.queued:
        sock: Any = listener.accept()[0]
        if sock.connection is not None:
            ending.assume(life_of(sock.connection), CloseReason.STOPPED)
        sock.close()


def wait_for_requests(tracker: ConnectionTracker) -> None:
    """Let requests end which other threads have in hand: the process may end next."""
    began = time.monotonic()
    patience = {ConnState.NEW: SILENT_TIMEOUT, ConnState.ACTIVE: REQUESTS_TIMEOUT}
    while any(
        time.monotonic() - began < patience.get(each.state, 0.0)
        for each in tracker.connections.values()
    ):
        time.sleep(0.01)


def end_hijacked(tracker: ConnectionTracker) -> None:
    """End what was hijacked, after a moment for its owners."""
    timeout = tracker.settings.stop_timeout
    tracker.wait_hijacked(OWNERS_TIMEOUT if timeout is None else min(OWNERS_TIMEOUT, timeout))
    close_hijacked(tracker, CLOSING_TIMEOUT, time.monotonic() + HOOKS_TIMEOUT)
