"""`track`: has a server of waitress's accept tracked connections.

Its main loop accepts, and neither waits nor runs hooks.
"""

from __future__ import annotations

import contextlib
import errno
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._sockets.complaints import Complaints
from .._sockets.listener import CAPACITY_ERRORS, Listener
from .._sockets.proxied import by_settings
from .._tracking.tracker import process_tracker
from .channel import Channel
from .closing import ClosingSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.address import SocketAddress
    from .._sockets.movable import Movable

__all__ = ["track"]

_PAUSE: Final = 0.1
"""Seconds for which a server that is out of descriptors leaves connections in the backlog."""


def track(server: Any) -> None:
    """Have `server` accept tracked connections.

    Args:
        server: waitress's own, for one address.
    """
    server.socket = listener = PausingListener(server.socket, process_tracker, server.logger)
    listener.proxy_parser_for = by_settings(process_tracker)
    if process_tracker.settings.save_syn:
        listener.save_syn()
    server.channel_class = Channel
    server.readable = partial(_is_readable, listener, server.readable)
    server.set_socket_options = partial(_set_options, server.set_socket_options)
    server.pull_trigger = partial(_pull, server.trigger)


class PausingListener(Listener):
    """Accepts nothing for a moment where descriptors have run out.

    Args:
        sock: the listening socket.
        tracker: who is told of a connection.
        log: where it is said.
    """

    paused_until = 0.0
    """When it accepts again, as a time of ``time.monotonic()``."""

    def __init__(self, sock: Any, tracker: Any, log: Any) -> None:
        super().__init__(sock, tracker)
        self._log = log
        self._complaints = Complaints()

    def accept(self) -> tuple[Movable, SocketAddress]:
        """Accept a connection, as `Listener.accept` does.

        Raises:
            BlockingIOError: none can be accepted now.
            OSError: as ``socket.accept`` does.
        """
        try:
            return super().accept()
        except OSError as exc:
            if exc.errno not in CAPACITY_ERRORS:
                raise
            self.paused_until = time.monotonic() + _PAUSE
            if self._complaints.is_due():
                self._log.error("Cannot accept connections: %s", exc)
            raise BlockingIOError(errno.EAGAIN, "not now") from exc


def _is_readable(listener: PausingListener, readable: Callable[[], bool]) -> bool:
    """Tell the main loop whether to accept; waitress does other things when it is asked."""
    return readable() and time.monotonic() >= listener.paused_until


def _set_options(set_options: Callable[[Any], object], sock: Any) -> None:
    """Set the options of a connection; one that does not take them is closed."""
    try:
        set_options(sock)
    except BaseException:
        ClosingSocket(sock).close()
        raise


def _pull(trigger: Any) -> None:
    """Wake the main loop, unless it has ended: the descriptor may be another's by then."""
    if not trigger._closed:  # noqa: SLF001  waitress says it nowhere else
        with contextlib.suppress(OSError):
            trigger.pull_trigger()
