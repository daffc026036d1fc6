"""`Hangups`: what waits in the kernel for peers that hang up, with epoll or kqueue.

A library that makes greenlets of a process's threads, as gevent and eventlet do when they patch it,
takes both out of ``select``: a call that waits in the kernel would stop all of them at once.
"""

from __future__ import annotations

import _thread
import inspect
import select
from typing import Any, Protocol

from ..errors import UnsupportedError
from ..sockinfo._systems.pristine_select import pristine

__all__ = ["EpollHangups", "Hangups", "KqueueHangups", "PatchedHangups", "make_hangups"]

_select: Any = select
"""Untyped: each system's module lacks the other's half."""

_pristine: Any = pristine
"""The system's own, whatever has been patched."""


class EpollHangups:
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


class KqueueHangups:
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


class PatchedHangups:
    """Waits for hang-ups in a process whose threads are greenlets, and lets the others go on.

    An epoll descriptor is itself readable when it has something to report (epoll(7)): that is
    waited for with what the library has put in the place of ``select``'s functions.
    """

    def __init__(self) -> None:
        self._epoll = _pristine.epoll()

    def add(self, fd: int) -> None:
        self._epoll.register(fd, _pristine.EPOLLRDHUP | _pristine.EPOLLET)

    def remove(self, fd: int) -> None:
        self._epoll.unregister(fd)

    def wait(self) -> list[int]:
        while not (found := self._epoll.poll(0)):
            self._wait_readable()
        return [fd for fd, _events in found]

    def _wait_readable(self) -> None:
        if not hasattr(_select, "poll"):  # eventlet takes that out, too
            _select.select([self._epoll], [], [])
            return
        poller = _select.poll()  # gevent's select() takes no descriptor above 1023
        poller.register(self._epoll, _pristine.POLLIN)
        poller.poll()


class Hangups(Protocol):
    """What waits for hang-ups."""

    def add(self, fd: int) -> None:
        """Wait for that of `fd`, too."""

    def remove(self, fd: int) -> None:
        """Wait for it no more."""

    def wait(self) -> list[int]:
        """Return those that may have hung up."""


def make_hangups() -> Hangups:
    """Return what waits for hang-ups on this system, in this process.

    Raises:
        UnsupportedError: it has neither epoll nor kqueue; or its threads are greenlets, and the
            waiting would stop them all.
    """
    if hasattr(select, "epoll") or hasattr(select, "kqueue"):
        if _has_greenlets():
            raise UnsupportedError(
                "on_disconnect is not supported here: the threads of this process are greenlets, "
                "and select has not been patched"
            )
        return EpollHangups() if hasattr(select, "epoll") else KqueueHangups()
    if hasattr(_pristine, "epoll"):
        return PatchedHangups()
    raise UnsupportedError("on_disconnect is not supported here: no epoll, no kqueue")


def _has_greenlets() -> bool:
    """Tell whether a library has put greenlets in the place of threads."""
    return not inspect.isbuiltin(_thread.start_new_thread)
