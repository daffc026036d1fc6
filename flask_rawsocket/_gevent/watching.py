"""`GreenletHangups`: waits for hang-ups without a thread.

An epoll descriptor is itself readable when it has something to report (epoll(7)): a greenlet waits
for that in gevent's hub.
"""

from __future__ import annotations

from typing import Any

import gevent.socket

from ..errors import UnsupportedError
from ..sockinfo._systems.pristine_select import pristine

__all__ = ["GreenletHangups"]

_select: Any = pristine
"""The system's own, which gevent has not replaced."""


class GreenletHangups:
    """Waits in epoll, as the watcher's own does, and lets other greenlets go on meanwhile.

    Raises:
        UnsupportedError: the system has no epoll.
    """

    def __init__(self) -> None:
        if not hasattr(pristine, "epoll"):
            raise UnsupportedError("on_disconnect is not supported on gevent here: no epoll")
        self._epoll = _select.epoll()

    def add(self, fd: int) -> None:
        """Wait for a hang-up of `fd`, too."""
        self._epoll.register(fd, _select.EPOLLRDHUP | _select.EPOLLET)

    def remove(self, fd: int) -> None:
        """Wait for it no more."""
        self._epoll.unregister(fd)

    def wait(self) -> list[int]:
        """Return those that may have hung up, when there are any."""
        while not (found := self._epoll.poll(0)):
            gevent.socket.wait_read(self._epoll.fileno())
        return [fd for fd, _events in found]
