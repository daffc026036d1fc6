"""How waitress stops: ``on_shutdown`` functions are called, and hooks hear of every end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from .._tracking.shutdown import close_hijacked, close_rest
from .._tracking.tracker import process_tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["stop", "stop_threads"]

OWNERS_TIMEOUT: Final = 1.0
"""The seconds that owners of hijacked connections have."""

HOOKS_TIMEOUT: Final = 5.0
"""Those that hooks have."""


def stop_threads(shutdown: Callable[..., bool], *args: Any, **kwargs: Any) -> bool:
    """Call the ``on_shutdown`` functions, then have the pool's threads end by `shutdown`."""
    process_tracker.shutdown()
    return shutdown(*args, **kwargs)


def stop(listening: Iterable[Any]) -> None:
    """Stop: the threads have ended, and the main loop has.

    Args:
        listening: the server for each address. There may be others in this process, which go on.
    """
    ours: set[Any] = set()
    for each in listening:
        ours.update(channel.connection for channel in each.active_channels.values())
        if each.socket is not None:  # its own close() has been called
            each.socket.close()
    if not process_tracker.is_stopping:  # the main loop has failed
        process_tracker.shutdown()
    timeout = process_tracker.settings.stop_timeout
    patience = OWNERS_TIMEOUT if timeout is None else min(OWNERS_TIMEOUT, timeout)
    process_tracker.wait_hijacked(patience)
    deadline = time.monotonic() + HOOKS_TIMEOUT
    close_hijacked(process_tracker, OWNERS_TIMEOUT, deadline)
    close_rest(process_tracker, deadline, among=ours - {None})
    process_tracker.wait_closed(max(0.0, deadline - time.monotonic()))
    process_tracker.is_stopping = False
