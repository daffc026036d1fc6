"""`Stop`: how a worker stops, while its requests go on and when they have ended."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from .._connection.state import CloseReason
from .._tracking.shutdown import close_hijacked, close_rest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Stop"]

_MARGIN: Final = 1.0
"""How long before the arbiter's patience ends that for owners does, in seconds."""

_LEAST_GRACE: Final = 1.0
"""The seconds after which the process may end, however short its grace is."""


class Stop:
    """The stop of one worker: applications are told, owners are waited for, the rest is closed.

    The arbiter kills a worker ``graceful_timeout`` after it has asked it to stop, if it lives
    itself. Shortly before that all connections are ended, even if a request goes on, and then the
    process, even if a hook or a view never returns. Hijacked connections end earlier, after the
    application's ``RAWSOCKET_STOP_TIMEOUT``.

    Args:
        worker: the worker that stops.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._tracker = worker.tracker
        self._grace: float = worker.cfg.graceful_timeout
        self._margin = min(_MARGIN, self._grace / 4)
        self._lock = threading.Lock()
        """Guards the two that follow."""
        self._began: float | None = None
        self._named = False
        """Whether the log has been told of hooks that do not return."""
        self._told = threading.Event()
        """Whether the functions given to ``RawSocket.on_shutdown`` have run."""
        self._over = threading.Event()
        """Whether the worker's main thread ends the connections."""
        self._closing = threading.Lock()
        """Held by who ends connections."""

    def begin(self) -> None:
        """Have applications told of the stop, and its limits kept, unless it has begun already.

        In other threads: the worker's may all be in views that wait to be told, and its main thread
        is to tell the arbiter that it lives.
        """
        with self._lock:
            if self._began is not None:
                return
            self._began = time.monotonic()
        self._tracker.stop_reason = self.reason
        try:
            _start("rawsocket-grace", self._keep_limits)
            _start("rawsocket-shutdown", self._tell)
        except RuntimeError:  # no thread can be started
            self._tell()

    @property
    def reason(self) -> CloseReason:
        """Why connections end that the stop ends; meaningful once the worker is to stop."""
        worker = self._worker
        has_served_all = worker.nr >= worker.max_requests
        return CloseReason.MAX_REQUESTS if has_served_all else CloseReason.STOPPED

    @property
    def is_ending(self) -> bool:
        """Whether the worker's main thread ends the connections, and is not to be disturbed."""
        return self._over.is_set()

    @property
    def left(self) -> float:
        """The seconds that requests have."""
        return self._until(self._grace - self._margin)

    def wait_told(self) -> None:
        """Wait until applications have been told, within the grace, and until another QUIT."""
        self._wait(self._told.wait, self._grace - self._margin)

    def wait_owners(self) -> None:
        """Wait until hijacked connections have ended, within their time, and until another QUIT."""
        self._wait(self._tracker.wait_hijacked, self._owners_time)

    def end(self) -> None:
        """End the connections that are left; the main thread does."""
        self._over.set()
        while not self._closing.acquire(timeout=0.5):
            self._worker.notify()
        try:
            self._close(self._margin / 2)
        finally:
            self._closing.release()
        self._name_hooks()

    @property
    def _owners_time(self) -> float:
        """The seconds after the beginning at which hijacked connections are ended."""
        timeout: float | None = self._tracker.settings.stop_timeout
        grace: float = self._grace - self._margin
        return grace if timeout is None else min(timeout, grace)

    def _until(self, seconds: float) -> float:
        """Return how long it is until `seconds` after the beginning; not below 0."""
        began = self._began if self._began is not None else float("-inf")
        return max(0.0, began + seconds - time.monotonic())

    def _close(self, patience: float) -> None:
        self._close_hijacked(patience)
        close_rest(self._tracker, self._deadline, self._worker.notify)

    def _close_hijacked(self, patience: float) -> None:
        close_hijacked(self._tracker, patience, self._deadline, self._worker.notify)

    @property
    def _deadline(self) -> float:
        """When hooks are waited for no more."""
        return time.monotonic() + self._until(self._grace - self._margin / 2)

    def _wait(self, wait: Callable[[float], bool], seconds: float) -> None:
        quitting = self._worker.quitting
        while (left := self._until(seconds)) > 0 and self._worker.quitting is quitting:
            if wait(min(left, 0.5)):
                break
            self._worker.notify()

    def _tell(self) -> None:
        try:
            self._tracker.shutdown()
        finally:
            self._told.set()

    def _keep_limits(self) -> None:
        """End the connections in time, although requests go on, and then the process."""
        if not self._over.wait(self._until(self._owners_time)):
            with self._closing:
                self._close_hijacked(self._margin / 2)
        if not self._over.wait(self._until(self._grace - self._margin / 2)):
            with self._closing:
                self._close(0.0)
        # What follows happens only if the process has not ended by then.
        time.sleep(self._until(max(_LEAST_GRACE, self._grace) - self._margin * 3 / 8))
        self._leave()

    def _leave(self) -> None:
        """End the process, whose main thread waits for what does not end."""
        with contextlib.suppress(RuntimeError):  # no thread: then without a word
            # In a thread: whoever does not return may hold the log's lock.
            _start("rawsocket-complaint", self._name_hooks).join(self._margin / 4)
        os._exit(0)

    def _name_hooks(self) -> None:
        """Say whose hooks have not returned by now; once."""
        with self._lock:
            if self._named:
                return
            self._named = True
        for each in self._tracker.unfinished_hooks():
            self._worker.log.error("The worker leaves: the hook %s has not returned", each)


def _start(name: str, function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function, name=name, daemon=True)
    thread.start()
    return thread
