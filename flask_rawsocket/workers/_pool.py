"""`Pool`: the threads of the thread worker, as many as the system has for it."""

from __future__ import annotations

import time
from concurrent import futures
from typing import Any, Final

from .._sockets.listener import COMPLAINT_PAUSE

__all__ = ["SEAMS", "Pool"]

SEAMS: Final = ((futures.ThreadPoolExecutor, "_adjust_thread_count"),)
"""What we rely on beyond what is documented: pairs of an owner and a name."""


class Pool(futures.ThreadPoolExecutor):
    """A pool that serves with the threads there are when it can start no more.

    ``submit()`` of the base class starts a thread after it has queued the call, and where that
    fails it raises: the call is made all the same, but nobody has its future.

    Args:
        threads: how many there are at most.
        log: gunicorn's, which hears of it.
    """

    _next_complaint = 0.0

    def __init__(self, threads: int, log: Any) -> None:
        super().__init__(threads)
        self._log = log
        # While there is a thread to be had: with one of them everything is served, if slowly.
        self.submit(bool)

    @property
    def is_without_threads(self) -> bool:
        """Whether not even one thread could be started."""
        return not self._threads

    def retry(self) -> None:
        """Try again to start a thread, for what is queued."""
        self._adjust_thread_count()

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError as exc:
            now = time.monotonic()
            if now >= self._next_complaint:
                self._next_complaint = now + COMPLAINT_PAUSE
                count = len(self._threads)
                self._log.error("%s: serving with the %d there are", exc, count)
