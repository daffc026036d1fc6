"""`Readiness`: which connections have something to read, or room to write; several threads may ask.

Each is reported once and then no more until it is armed again, so that one thread alone has it, and
that thread can arm it again itself: no descriptor passes through the main thread for it.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import Any, Final, TypeAlias

__all__ = ["READING", "WRITING", "Readiness", "make_readiness"]

_select: Any = select
_os: Any = os
"""What these have depends on the system."""

READING: Final = "to read"
WRITING: Final = "to write"


class _Epoll:
    """Waits with epoll (epoll(7)), whose EPOLLONESHOT was made for this."""

    def __init__(self) -> None:
        self._epoll = _select.epoll()
        self._wait = self._epoll.poll
        self._modify = self._epoll.modify
        once = _select.EPOLLONESHOT
        self._masks = {READING: _select.EPOLLIN | once, WRITING: _select.EPOLLOUT | once}
        self._reading = self._masks[READING]
        self._kick: int = _os.eventfd(0, _os.EFD_NONBLOCK | _os.EFD_CLOEXEC)
        self._epoll.register(self._kick, _select.EPOLLIN)

    def add(self, fd: int) -> None:
        """Report of `fd` once, when it can be read.

        Raises:
            OSError: the system has no room for it, or it is not open.
        """
        try:
            self._epoll.register(fd, self._reading)
        except FileExistsError:
            self._modify(fd, self._reading)

    def arm(self, fd: int, what: str = READING) -> None:
        """Report of `fd` once more, when it is ready `what`.

        Raises:
            OSError: it is not open.
        """
        try:
            self._modify(fd, self._reading if what is READING else self._masks[what])
        except FileNotFoundError:
            # It is another file since: a number that was closed and used again.
            self._epoll.register(fd, self._masks[what])

    def wait(self, timeout: float | None = None) -> int | None:
        """Return one that is ready; None after `timeout` seconds, or a kick."""
        events = self._wait(timeout, 1)
        if not events:
            return None
        fd: int = events[0][0]
        if fd != self._kick:
            return fd
        self._calm()
        return None

    def kick(self) -> None:
        """Have one of the threads that wait return."""
        _os.eventfd_write(self._kick, 1)

    def _calm(self) -> None:
        with contextlib.suppress(BlockingIOError):  # another thread was first
            _os.eventfd_read(self._kick)


class _Kqueue:
    """Waits with kqueue (kqueue(2)). It was not run on such a system."""

    def __init__(self) -> None:
        self._kqueue = _select.kqueue()
        self._filters = {READING: _select.KQ_FILTER_READ, WRITING: _select.KQ_FILTER_WRITE}
        clear = _select.KQ_EV_ADD | _select.KQ_EV_CLEAR
        self._kqueue.control([_select.kevent(1, _select.KQ_FILTER_USER, clear)], 0)

    def add(self, fd: int) -> None:
        """Report of `fd` once, when it can be read."""
        self.arm(fd)

    def arm(self, fd: int, what: str = READING) -> None:
        """Report of `fd` once more, when it is ready `what`."""
        flags = _select.KQ_EV_ADD | _select.KQ_EV_ONESHOT
        self._kqueue.control([_select.kevent(fd, self._filters[what], flags)], 0)

    def wait(self, timeout: float | None = None) -> int | None:
        """Return one that is ready; None after `timeout` seconds, or a kick."""
        for event in self._kqueue.control(None, 1, timeout):
            if event.filter != _select.KQ_FILTER_USER:
                fd: int = event.ident
                return fd
        return None

    def kick(self) -> None:
        """Have one of the threads that wait return."""
        note = _select.kevent(1, _select.KQ_FILTER_USER, 0, _select.KQ_NOTE_TRIGGER)
        self._kqueue.control([note], 0)


Readiness: TypeAlias = _Epoll | _Kqueue


def make_readiness() -> Readiness:
    """Return what this system has: epoll, or kqueue."""
    return _Epoll() if hasattr(select, "epoll") else _Kqueue()
