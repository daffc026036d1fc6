"""`Liveness`: whether a Connection's peer is still there; asked, waited for, or told.

Nothing here reads from the connection.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from .. import sockinfo
from .._misuse import plain_function
from . import ending
from .kernel import KernelFacts
from .state import CloseReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..sockinfo import PeerStatus

__all__ = ["Liveness", "PeerWatch", "watch"]


class PeerWatch(Protocol):
    """Who watches peers: the tracker, or the stand-in for a server that is not ours."""

    def watch(
        self, connection: Any, callback: Callable[[], object], *, at_end_too: bool = False
    ) -> Callable[[], None]:
        """Call `callback` once the peer is gone; return what takes that back.

        Args:
            connection: whose peer.
            callback: called from a thread of its own.
            at_end_too: call it also when the watch ends for another reason, and without a thread of
                its own; it must return at once.
        """

    def peer_was_seen_gone(self, connection: Any) -> None:
        """The application has been told that the peer of `connection`, which is watched, is gone.

        Its callbacks are made then, though the request may end before the kernel's report comes.
        """


class Liveness(KernelFacts):
    """The peer's side of a `flask_rawsocket.Connection`."""

    __slots__ = ("_keeper",)

    _keeper: PeerWatch
    """Written by `Connection`."""

    def peer_status(self) -> PeerStatus:
        """Ask the kernel whether the peer is still there; nothing is read from the connection.

        A TCP peer that has closed cannot be told from one that has closed its sending half until
        something is written to it; over UNIX it can. Under TLS a peer that says ``close_notify``
        without closing is still there. A peer that has sent more than the receive buffer takes,
        and then closed, is seen to have gone when that has been read.

        Raises:
            ConnectionClosedError: it has been closed on our side.
        """
        life = self._life
        if life.ended_here and not ending.is_by_peer(life):
            raise self._closed_error()  # the kernel would call our own end the peer's
        return self._ask(sockinfo.peer_status)

    def is_disconnected(self) -> bool:
        """Tell whether the peer has closed, half-closed or reset the connection.

        To the kernel a ``shutdown(SHUT_RD)`` of our own looks the same, and `abort` makes one.
        On HTTP/2 (gunicorn 27 and newer) it also tells whether the peer has reset the stream, in
        the thread that serves it; frames that have come are read for that.

        Raises:
            ConnectionClosedError: it has been closed on our side.
        """
        exchange = self._life.exchange
        if exchange is not None and exchange.peer_has_left():
            return True
        is_gone = self.peer_status() is not sockinfo.PeerStatus.OPEN
        if is_gone and self._life.watched:
            self._keeper.peer_was_seen_gone(self)
        return is_gone

    def wait_disconnected(self, timeout: float | None = None) -> bool:
        """Wait until the peer is gone, and tell whether it is.

        The end of the request does not end the waiting.

        Args:
            timeout: for how long at most, in seconds; None or infinity for as long as it takes.

        Raises:
            ConnectionClosedError: it has been closed on our side, now or meanwhile.
            InvalidStateError: the server is not one of this package's, and the request has ended.
            UnsupportedError: the system has nothing to watch with.
            RawSocketError: the system can watch no more connections; ``__cause__`` says why.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            told = threading.Event()
            cancel = watch(self, told.set)
            try:
                told.wait(None if deadline is None else _left(deadline))
            finally:
                cancel()
            if self._has_left():
                return True
            if not told.is_set():
                return False
            # The watch ended with its request. If the connection was closed, the next turn raises.

    def _has_left(self) -> bool:
        """Tell whether the peer is gone; of a closed connection the close reason says so.

        The kernel could not: to it, the end of our side looks the same.
        """
        if not self._life.is_closed():
            return self.is_disconnected()
        reason = self._life.close_reason
        if reason is not None and reason.group is CloseReason.CLIENT:
            return True
        raise self._closed_error()

    def on_disconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` once, from a thread of its own, when the peer is gone.

        It is forgotten at the end of the request, unless `is_disconnected` has told by then that
        the peer is gone; on a connection that was hijacked, when that is closed. Once forgotten
        or taken back it is not begun any more. What it raises is logged. What `is_disconnected`
        says of our own ``shutdown`` holds here too.

        Args:
            callback: a function without arguments; called at once if the peer is gone already.

        Returns:
            A function that takes the callback back.

        Raises:
            TypeError: it cannot be called, or is a coroutine function, which nobody would await.
            ConnectionClosedError: it has been closed on our side.
            InvalidStateError: the request that asks has ended; or the server is not one of this
                package's, and no request of a `RawSocket` that is set up is in hand.
            UnsupportedError: the system has nothing to watch with.
            RawSocketError: the system can watch no more connections; ``__cause__`` says why.
        """
        return self._keeper.watch(self, plain_function(callback, "on_disconnect"))


def watch(connection: Liveness, tell: Callable[[], object]) -> Callable[[], None]:
    """Call `tell` when the peer of `connection` is gone or the watch ends; return its undoing.

    Args:
        connection: whose peer.
        tell: returns at once, as ``Event.set`` does.

    Raises:
        RawSocketError: as `Liveness.on_disconnect` says.
    """
    keeper = connection._keeper  # noqa: SLF001  of this file's own class
    return keeper.watch(connection, tell, at_end_too=True)


def _left(deadline: float) -> float:
    """Return the seconds to `deadline`, as many as an Event can wait."""
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
