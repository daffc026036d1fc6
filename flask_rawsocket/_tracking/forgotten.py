"""`Forgotten`: ends hijacked connections that their owners have forgotten.

A finalizer notices, in the middle of anything and with any lock held. So all it does is to put the
socket into a queue, which is made for that (queue.SimpleQueue: "put() is reentrant").
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
from typing import TYPE_CHECKING, Protocol

from .runner import Runner

if TYPE_CHECKING:

    class Endable(Protocol):
        """A socket whose connection can be ended."""

        def end(self) -> None: ...


__all__ = ["Forgotten", "put", "start"]

log = logging.getLogger("flask_rawsocket")


class Forgotten:
    """The queue of a process, and the thread that empties it."""

    _queue: queue.SimpleQueue[Endable]

    def __init__(self) -> None:
        self._started = False

    def start(self) -> None:
        """Start the thread, unless that has been done. Where there is none to be had, go on."""
        if self._started:
            return
        # Now: gevent may have put its own in the place of these two, and they belong together.
        self._queue = queue.SimpleQueue()
        with contextlib.suppress(RuntimeError):
            Runner.start_thread(self._run, "rawsocket-forgotten")
            self._started = True

    def put(self, sock: Endable) -> None:
        """Have `sock` ended soon, in another thread."""
        self._queue.put(sock)

    def _run(self) -> None:
        while True:
            _end(self._queue.get())


_forgotten = Forgotten()
"""The one of this process."""


def _after_fork() -> None:
    global _forgotten  # noqa: PLW0603  the parent's thread is not in its child
    _forgotten = Forgotten()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def start() -> None:
    """Be ready for `put`, which may not start a thread."""
    _forgotten.start()


def put(sock: Endable) -> None:
    """Have `sock` ended soon, in another thread; a finalizer may call this."""
    _forgotten.put(sock)


def _end(sock: Endable) -> None:
    try:
        sock.end()
    except Exception:
        log.exception("A forgotten connection could not be closed")
