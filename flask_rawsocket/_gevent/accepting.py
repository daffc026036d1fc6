"""`Accepting`: how a server of gevent's accepts tracked connections, and stops accepting.

It runs in gevent's hub, where nothing may wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import gevent
from gevent.server import StreamServer

from .._sockets.listener import PASSING_ERRORS
from .listener import GreenletListener

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ACCEPT_PAUSE", "Accepting"]

ACCEPT_PAUSE: Final = 0.25
"""Seconds for which a server that cannot accept leaves connections in the backlog.

It may be out of descriptors; and a listening socket that fails each time is to cost no more."""


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
            if exc.errno not in PASSING_ERRORS:
                gevent.spawn(self.complain, exc)
                self._pause()
            return None

    def start_accepting(self) -> None:
        """Accept from here on; not once the server stops, when its pool has a place again."""
        if not self.is_stopping:
            super().start_accepting()

    def _pause(self) -> None:
        self.stop_accepting()
        self._timer = self.loop.timer(ACCEPT_PAUSE)
        self._timer.start(self._start_accepting_if_started)

    def accept_no_more(self) -> None:
        """The server stops: keep no connection from here on, and accept no other."""
        self.is_stopping = True
        self.stop_accepting()

    def serve_queued(self) -> bool:
        """Serve what the listener has queued, while the pool has a place; tell if that was all.

        Where it is full nobody waits: who calls this has other things to do for the stop.
        """
        while self.socket.queued and not self.full():
            self.do_handle(*self.socket.accept())
        return not self.socket.queued
