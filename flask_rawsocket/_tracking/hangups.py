"""What a watcher waits with for hang-ups: epoll on Linux, kqueue on the BSDs and macOS."""

from __future__ import annotations

import select
from typing import Any, Protocol

from ..errors import UnsupportedError

__all__ = ["Hangups", "make_hangups"]

_select: Any = select
"""Untyped: each system's module lacks the other's half."""


class Hangups(Protocol):
    """What waits for hang-ups."""

    def add(self, fd: int) -> None:
        """Wait for that of `fd`, too."""

    def remove(self, fd: int) -> None:
        """Wait for it no more."""

    def wait(self) -> list[int]:
        """Return those that may have hung up."""


class _EpollHangups:
    """Waits for hang-ups with epoll (epoll(7)).

    Edge-triggered: a report that was no hang-up comes again when something has changed, and no
    sooner, though its cause may stay.
    """

    def __init__(self) -> None:
        self._epoll = _select.epoll()

    def add(self, fd: int) -> None:
        self._epoll.register(fd, _select.EPOLLRDHUP | _select.EPOLLET)

    def remove(self, fd: int) -> None:
        self._epoll.unregister(fd)

    def wait(self) -> list[int]:
        return [fd for fd, _events in self._epoll.poll()]


class _KqueueHangups:
    """Waits for hang-ups with kqueue (kqueue(2)). It was not run on such a system."""

    def __init__(self) -> None:
        self._kqueue = _select.kqueue()

    def add(self, fd: int) -> None:
        # Data wakes it too; EV_CLEAR lets the same data do so only once.
        self._change(fd, _select.KQ_EV_ADD | _select.KQ_EV_CLEAR)

    def remove(self, fd: int) -> None:
        self._change(fd, _select.KQ_EV_DELETE)

    def wait(self) -> list[int]:
        events = self._kqueue.control(None, 64, None)
        return [event.ident for event in events if event.flags & _select.KQ_EV_EOF]

    def _change(self, fd: int, flags: int) -> None:
        self._kqueue.control([_select.kevent(fd, _select.KQ_FILTER_READ, flags)], 0)


def make_hangups() -> Hangups:
    """Return what waits for hang-ups on this system.

    Raises:
        UnsupportedError: it has neither epoll nor kqueue.
    """
    if hasattr(select, "epoll"):
        return _EpollHangups()
    if hasattr(select, "kqueue"):
        return _KqueueHangups()
    raise UnsupportedError("on_disconnect is not supported here: no epoll, no kqueue")
