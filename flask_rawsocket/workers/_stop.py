"""`Stop`: how a worker stops, while its requests go on and when they have ended."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from .._tracking.shutdown import close_hijacked, close_rest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Stop"]

_MARGIN: Final = 1.0
"""How long before the arbiter's patience ends that for owners does, in seconds."""


class Stop:
    """The stop of one worker: applications are told, owners are waited for, the rest is closed.

    The arbiter kills a worker ``graceful_timeout`` after it has asked it to stop.  Shortly before
    that, taken connections are ended, also where a request goes on, and last of all such requests'.

    Args:
        worker: the worker that stops.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._tracker = worker.tracker
        grace = worker.cfg.graceful_timeout
        self._margin = min(_MARGIN, grace / 4)
        self._grace = grace - self._margin
        self._lock = threading.Lock()
        """Guards the next."""
        self._grace_ends: float | None = None
        self._told = threading.Event()
        """Whether the functions given to ``RawSocket.on_shutdown`` have run."""
        self._over = threading.Event()
        """Whether the worker's main thread ends the connections."""
        self._closing = threading.Lock()
        """Held by who ends connections."""

    def begin(self) -> None:
        """Have applications told of the stop, and its limit kept, unless it has begun already.

        In other threads: the worker's may all be in views that wait to be told, and its main thread
        is to tell the arbiter that it lives.
        """
        with self._lock:
            if self._grace_ends is not None:
                return
            self._grace_ends = time.monotonic() + self._grace
        try:
            _start("rawsocket-grace", self._keep_limit)
            _start("rawsocket-shutdown", self._tell)
        except RuntimeError:  # there is no thread to be had
            self._tell()

    @property
    def is_ending(self) -> bool:
        """Whether the worker's main thread ends the connections, and is not to be disturbed."""
        return self._over.is_set()

    def wait_told(self) -> None:
        """Wait until applications have been told, within the grace, and until another QUIT."""
        self._wait(self._told.wait)

    def wait_owners(self) -> None:
        """Wait until taken connections have ended, within the grace, and until another QUIT."""
        self._wait(self._tracker.wait_hijacked)

    def end(self) -> None:
        """End the connections that are left; the main thread does."""
        self._over.set()
        while not self._closing.acquire(timeout=0.5):
            self._worker.notify()
        try:
            self._close(self._margin / 2)
        finally:
            self._closing.release()

    def _close(self, patience: float) -> None:
        notify = self._worker.notify
        close_hijacked(self._tracker, patience, notify)
        close_rest(self._tracker, notify)

    def _wait(self, wait: Callable[[float], bool]) -> None:
        quitting = self._worker.quitting
        while (left := self._left()) > 0 and self._worker.quitting is quitting:
            if wait(min(left, 0.5)):
                break
            self._worker.notify()

    def _left(self) -> float:
        """Give the seconds of grace that are left."""
        return (self._grace_ends or 0.0) - time.monotonic()

    def _tell(self) -> None:
        try:
            self._tracker.shutdown()
        finally:
            self._told.set()

    def _keep_limit(self) -> None:
        """End the connections in time, although requests go on."""
        if self._over.wait(max(0.0, self._left())):
            return
        with self._closing:
            close_hijacked(self._tracker, self._margin / 2, self._worker.notify)
        if self._over.wait(max(0.0, self._left() + 0.75 * self._margin)):
            return
        with self._closing:
            self._close(0.0)


def _start(name: str, function: Callable[[], None]) -> None:
    threading.Thread(target=function, name=name, daemon=True).start()
