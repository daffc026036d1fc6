"""`Accepting`: how a server of gevent's accepts tracked connections, and stops accepting.

It runs in gevent's hub, where nothing may wait.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

import gevent
from gevent.server import StreamServer

from .._sockets.listener import CAPACITY_ERRORS
from .listener import GreenletListener

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ACCEPT_PAUSE", "Accepting"]

ACCEPT_PAUSE: Final = 0.25
"""Seconds for which a server that is out of descriptors leaves connections in the backlog."""


class Accepting(StreamServer):  # type: ignore[misc]
    """Comes before a server class of gevent's, whose listening socket is a `GreenletListener`."""

    socket: Any

    complain: Callable[[OSError], object]
    """Told, in a greenlet, why a connection could not be accepted."""

    is_stopping = False
    """Whether no connection is to be kept any more."""

    def _make_socket_stdlib(self, fresh: bool) -> None:  # noqa: FBT001  gevent's signature
        """Keep the listener, in which gevent would look for the raw socket."""
        if not isinstance(self.socket, GreenletListener):
            super()._make_socket_stdlib(fresh)

    def do_read(self) -> tuple[Any, Any] | None:
        """Accept a connection; None where there is none, or it cannot be accepted now."""
        try:
            accepted: tuple[Any, Any] = self.socket.accept()
            return accepted
        except OSError as exc:
            if exc.errno != errno.EAGAIN:
                gevent.spawn(self.complain, exc)
            if exc.errno in CAPACITY_ERRORS:
                self._pause()
            return None

    def _pause(self) -> None:
        self.stop_accepting()
        self._timer = self.loop.timer(ACCEPT_PAUSE)
        self._timer.start(self._start_accepting_if_started)

    def serve_queued(self) -> None:
        """Serve what the listener has queued; new connections are accepted no more."""
        self.stop_accepting()
        while self.socket.queued:
            self.do_handle(*self.socket.accept())
