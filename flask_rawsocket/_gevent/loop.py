"""`make_loop`: an asyncio loop that runs in a greenlet, beside those of the requests.

asyncio keeps in mind, for each thread, which loop is running. Here that is said only while the
loop's callbacks run, and not while it waits: another greenlet of the same thread may have a loop of
its own meanwhile, as Flask has for a view that is an ``async def``.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from typing import TYPE_CHECKING, Any, Final

import gevent
import gevent.socket

from ..sockinfo._systems.pristine_select import pristine

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GreenletSelector", "make_loop"]

_select: Any = pristine
"""The system's own, which gevent has not replaced."""

_TURN: Final = 0.005
"""The seconds for which a loop that always has something to do may keep other greenlets waiting."""


class _NotReadyError(Exception):
    """The time is over."""


class GreenletSelector(selectors.BaseSelector):
    """Waits in epoll, whose descriptor gevent's hub waits for."""

    loop: asyncio.AbstractEventLoop | None = None
    """Whose it is."""

    def __init__(self) -> None:
        self._epoll = _select.epoll()
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._turn = time.monotonic()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Have `select` report of `fileobj`."""
        fd = _number(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        self._epoll.register(fd, _mask(events))
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Have it report no more."""
        fd = _number(fileobj)
        key = self._keys.pop(fd)
        with contextlib.suppress(OSError):  # it has been closed
            self._epoll.unregister(fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Have it report of other events, or with other data."""
        fd = _number(fileobj)
        former = self._keys[fd]
        if events != former.events:
            self._epoll.modify(fd, _mask(events))
        key = self._keys[fd] = selectors.SelectorKey(former.fileobj, fd, events, data)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, after at most `timeout` seconds; others have their turn."""
        found = self._epoll.poll(0)
        if not found and (timeout is None or timeout > 0):
            self._let_others(lambda: _wait(self._epoll.fileno(), timeout))
            found = self._epoll.poll(0)
        elif time.monotonic() - self._turn > _TURN:
            self._let_others(lambda: gevent.sleep(0))
        return [
            (key, _events(mask) & key.events)
            for fd, mask in found
            if (key := self._keys.get(fd)) is not None
        ]

    def _let_others(self, wait: Any) -> None:
        asyncio._set_running_loop(None)  # noqa: SLF001  documented for event loops
        try:
            wait()
        finally:
            asyncio._set_running_loop(self.loop)  # noqa: SLF001
            self._turn = time.monotonic()

    def close(self) -> None:
        """Wait no more."""
        self._epoll.close()
        self._keys.clear()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return what is registered, by descriptor."""
        return self._keys


def make_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that lets other greenlets go on while it waits."""
    selector = GreenletSelector()
    # Not new_event_loop(): whatever policy the application has set is not for ours.
    loop = asyncio.SelectorEventLoop(selector)
    selector.loop = loop
    return loop


def _wait(fd: int, timeout: float | None) -> None:
    with contextlib.suppress(_NotReadyError):
        gevent.socket.wait_read(fd, timeout, _NotReadyError())


def _number(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


def _mask(events: int) -> int:
    reads = _select.EPOLLIN if events & selectors.EVENT_READ else 0
    writes = _select.EPOLLOUT if events & selectors.EVENT_WRITE else 0
    return int(reads | writes)


def _events(mask: int) -> int:
    """Return the events of a report: an error, or a hang-up, is both."""
    reads = selectors.EVENT_READ if mask & ~_select.EPOLLOUT else 0
    writes = selectors.EVENT_WRITE if mask & ~_select.EPOLLIN else 0
    return reads | writes
