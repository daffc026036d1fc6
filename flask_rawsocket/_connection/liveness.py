"""`Liveness`: whether a Connection's peer is still there; asked, waited for, or told.

Nothing here reads from the connection.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from .. import sockinfo
from .state import CloseReason, ConnState

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ..errors import ConnectionClosedError
    from ..sockinfo import PeerStatus

    _T = TypeVar("_T")

__all__ = ["Liveness", "Told"]

Told: TypeAlias = "Callable[[], object] | threading.Event"
"""Who is told of a peer's going: a callback of the application's, or an Event of our own."""


class Liveness:
    """The peer's side of a `flask_rawsocket.Connection`."""

    __slots__ = ()

    if TYPE_CHECKING:
        _state: ConnState | None
        close_reason: CloseReason | None

        def _closed_error(self) -> ConnectionClosedError: ...

        def _ask(self, question: Callable[[socket.socket], _T]) -> _T: ...

        def _watch(self, told: Told) -> Callable[[], None]: ...

    def peer_status(self) -> PeerStatus:
        """Ask the kernel whether the peer is still there; nothing is read from the connection.

        A TCP peer that has closed cannot be told from one that has closed its sending half until
        something is written to it; over UNIX it can.  Under TLS a peer that says ``close_notify``
        without closing is still there.  A peer that has sent more than the receive buffer takes,
        and then closed, is seen to have gone when that has been read.

        Raises:
            ConnectionClosedError: it has been closed on our side.
        """
        return self._ask(sockinfo.peer_status)

    def is_disconnected(self) -> bool:
        """Tell whether the peer has closed, half-closed or reset the connection.

        To the kernel a ``shutdown(SHUT_RD)`` of our own looks the same, and `abort` makes one.

        Raises:
            ConnectionClosedError: it has been closed on our side.
        """
        return self.peer_status() is not sockinfo.PeerStatus.OPEN

    def wait_disconnected(self, timeout: float | None = None) -> bool:
        """Wait until the peer is gone, and tell whether it is.

        The end of the request does not end the waiting.

        Args:
            timeout: for how long at most, in seconds; None or infinity for as long as it takes.

        Raises:
            ConnectionClosedError: it has been closed on our side, now or meanwhile.
            UnsupportedError: the server is not one of this package's.
            RawSocketError: the system can watch no more connections; ``__cause__`` says why.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            told = threading.Event()
            cancel = self._watch(told)
            try:
                told.wait(None if deadline is None else _left(deadline))
            finally:
                cancel()
            if self._has_left():
                return True
            if not told.is_set():
                return False
            # It is watched no more: its request has ended.  If it was closed, the next turn raises.

    def _has_left(self) -> bool:
        """Tell whether the peer is gone; who has closed our side says whose doing that was.

        The kernel could not: to it, the end of our side looks the same.
        """
        if self._state is not ConnState.CLOSED:
            return self.is_disconnected()
        if self.close_reason is CloseReason.CLIENT:
            return True
        raise self._closed_error()

    def on_disconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` once, from a thread of its own, when the peer is gone.

        It is forgotten at the end of the request; on a connection that was taken over, when that
        is closed.  Once forgotten or taken back it is not begun any more.  What it raises is
        logged.  What `is_disconnected` says of our own ``shutdown`` holds here too.

        Args:
            callback: a function without arguments; called at once if the peer is gone already.

        Returns:
            A function that takes the callback back.

        Raises:
            ConnectionClosedError: it has been closed on our side.
            UnsupportedError: the server is not one of this package's.
            RawSocketError: the system can watch no more connections; ``__cause__`` says why.
        """
        return self._watch(callback)


def _left(deadline: float) -> float:
    """Give the seconds to `deadline`, as many as an Event can wait."""
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
