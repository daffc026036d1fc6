"""`Runner`: makes calls that may take their time, each in a thread, and not too many at once.

The hooks of ends and the callbacks of disconnects run here: a slow one is not to delay a request,
another end, or the thread that noticed.
"""

from __future__ import annotations

import atexit
import contextvars
import logging
import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Runner"]

log = logging.getLogger("flask_rawsocket")

MOST_THREADS: Final = 64
"""How many calls are made at once, by default; one more waits for the first to end."""

_IDLE: Final = 1.0
"""Seconds for which a thread waits for another call before it ends."""

_EXIT_TIMEOUT: Final = 5.0
"""Seconds that calls have which are in progress when the interpreter ends."""


def _start_thread(function: Callable[[], None], name: str) -> None:
    thread = threading.Thread(target=function, name=name, daemon=True)
    # In an empty context, as a thread has: a greenlet in its place would get a copy of the view's.
    contextvars.Context().run(thread.start)


class Runner:
    """Threads that are begun on demand.

    Args:
        name: of the threads.
        most: how many of them there are at once.
    """

    start_thread: Callable[[Callable[[], None], str], None] = staticmethod(_start_thread)
    """Has a function called in a thread of that name, or in what a server has in the place of one.

    Whatever runs beside the requests is begun by this. It returns at once, so that it may be called
    with a lock held, or on the event loop: where threads are greenlets, starting a ``Thread`` would
    let others go on in the middle of that. Raises ``RuntimeError`` where there is none to be had.
    """

    def __init__(self, name: str, most: int = MOST_THREADS) -> None:
        self._name = name
        self._most = most
        lock = threading.Lock()
        self._more = threading.Condition(lock)
        """Guards what follows; told when there is a job more."""
        self._fewer = threading.Condition(lock)
        """The same lock; told when a job has been done."""
        self._jobs: deque[Callable[[], object]] = deque()
        self._threads = 0
        self._idle = 0
        self._unfinished = 0
        _runners.add(self)

    def submit(self, job: Callable[[], object]) -> None:
        """Have `job` called soon. What it raises is logged.

        Where the system has no thread left, the threads there are will come to it; if there is
        none at all, it is called here.
        """
        with self._more:
            self._jobs.append(job)
            self._unfinished += 1
            if len(self._jobs) <= self._idle:
                self._more.notify()
                return
            if self._threads >= self._most:
                return
            self._threads += 1
        try:
            self.start_thread(self._work, self._name)
        except RuntimeError:
            self._work_here()

    def wait(self, timeout: float) -> bool:
        """Wait until nothing is left to be done; tell whether that is so.

        Args:
            timeout: in seconds.
        """
        with self._fewer:
            return self._fewer.wait_for(lambda: not self._unfinished, timeout)

    @property
    def unfinished(self) -> int:
        """How many calls are being made or wait to be."""
        return self._unfinished

    def _work_here(self) -> None:
        """No thread could be started: make a call here if no other thread will."""
        with self._more:
            self._threads -= 1
            if self._threads or not self._jobs:
                return
            job = self._jobs.popleft()
        self._make(job)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._make(job)
            del job  # it may hold a socket, which is not to live until the next one comes

    def _next(self) -> Callable[[], object] | None:
        """Return the next job; None when there has been none for a while."""
        deadline = time.monotonic() + _IDLE
        with self._more:
            while not self._jobs:
                left = deadline - time.monotonic()
                if left <= 0:
                    self._threads -= 1
                    return None
                self._idle += 1
                self._more.wait(left)
                self._idle -= 1
            return self._jobs.popleft()

    def _make(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException:  # a SystemExit too: other calls wait for this thread
            log.exception("%r failed in a thread of %s", job, self._name)
        finally:
            with self._more:
                self._unfinished -= 1
                self._fewer.notify_all()


_runners: weakref.WeakSet[Runner] = weakref.WeakSet()


def _wait_for_all() -> None:
    """Let what has begun end, within limits, before the interpreter does."""
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for runner in list(_runners):
        runner.wait(max(0.0, deadline - time.monotonic()))


atexit.register(_wait_for_all)
if hasattr(os, "register_at_fork"):
    # The threads of a parent's runners are not in its child.
    os.register_at_fork(after_in_child=_runners.clear)
