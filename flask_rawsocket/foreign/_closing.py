"""`tell_of_closes`: looks whether a server closes a connection during its request, as it may do.

One that reads ahead closes when it has read the client's end. The kernel forgets a descriptor that
is closed, and with it a hang-up of which it has not reported yet. So each connection that is
watched is asked, a few times a second, whether its socket is still open.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final

from .._tracking.runner import Runner

if TYPE_CHECKING:
    from ._connections import ForeignConnection

__all__ = ["tell_of_closes"]

_INTERVAL: Final = 0.1
"""Seconds between two looks."""


class _Looks:
    """The connections of a process that are watched, and the thread that looks at them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Guards what follows; nothing that may wait is done under it."""
        self._watched: set[ForeignConnection] = set()
        self._has_thread = False

    def add(self, connection: ForeignConnection) -> None:
        """Look at `connection` until its request ends, unless there is no thread to be had."""
        with self._lock:
            self._watched.add(connection)
            starts, self._has_thread = not self._has_thread, True
        if starts:
            try:
                Runner.start_thread(self._run, "rawsocket-closes")
            except RuntimeError:
                with self._lock:
                    self._has_thread = False

    def _run(self) -> None:
        while self._goes_on():
            time.sleep(_INTERVAL)
            for connection in list(self._watched):
                connection.check_open()

    def _goes_on(self) -> bool:
        """Forget those whose request has ended; tell whether any is left."""
        with self._lock:
            self._watched = {each for each in self._watched if each.is_watched()}
            self._has_thread = bool(self._watched)
            return self._has_thread


_looks = _Looks()


def _after_fork() -> None:
    global _looks  # noqa: PLW0603  the parent's thread is not in its child
    _looks = _Looks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def tell_of_closes(connection: ForeignConnection) -> None:
    """Tell those who watch the peer of `connection` if the server closes it during its request."""
    _looks.add(connection)
