"""Connections of servers that are not ours, each found again by its socket.

One is kept for as long as the server keeps the socket object, hence for all the requests of one
keep-alive connection. A borrowed socket, and its Connection, last for one request.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from .._connection.address import AF_UNIX, override_text, text_of
from .._connection.connection import Connection
from .._connection.state import ConnState
from .._tracking.tracker import process_tracker
from ..errors import ConnectionClosedError
from ..sockinfo import PeerStatus
from ._borrowed import borrow
from ._closing import tell_of_closes
from ._keeper import ForeignKeeper
from ._places import find_socket

if TYPE_CHECKING:
    import socket

    from .._connection.address import SocketAddress

__all__ = ["ForeignConnection", "find"]

_connections: weakref.WeakKeyDictionary[socket.socket, ForeignConnection] = (
    weakref.WeakKeyDictionary()
)
_lock = threading.RLock()
"""Guards `_connections`; re-entrant, as the tracker's."""

_keeper: Final = ForeignKeeper()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def find(environ: dict[str, Any], *, sees_end: bool = False) -> ForeignConnection | None:
    """Return the Connection of a request on a server that is not ours; None if it shows no socket.

    Args:
        environ: the request's WSGI environ.
        sees_end: whether the caller will tell when the request has ended. Without that nothing is
            borrowed: the descriptor would soon be another connection's.
    """
    sock: Any = find_socket(environ)
    if sock is None:
        lent = borrow(environ) if sees_end else None
        return None if lent is None else ForeignConnection(lent, is_lent=True)
    with _lock:
        connection = _connections.get(sock)
        if connection is None:
            connection = _connections[sock] = ForeignConnection(sock)
    return connection


class ForeignConnection(Connection):
    """A Connection of a server that tells nothing of it.

    Args:
        sock: the server's socket, which the server keeps alive, or nobody.
        is_lent: whether it is a `BorrowedSocket`, made for one request.
    """

    __slots__ = ("_is_lent", "requests_in_hand")

    managed = False

    requests_in_hand: int
    """How many requests a `RawSocket` sees, now, and will see end."""

    def __init__(self, sock: Any, *, is_lent: bool = False) -> None:
        remote: SocketAddress = ""
        local: SocketAddress = ""
        # A peer that has reset the connection already has no name any more (ENOTCONN), and on some
        # systems neither has our end.
        with contextlib.suppress(OSError):
            local = sock.getsockname()
            remote = sock.getpeername()
        super().__init__(
            sock,
            _keeper,
            family=sock.family,
            remote_address=remote,
            local_address=local,
        )
        life = self._life
        is_unix = sock.family == AF_UNIX
        life.key = override_text(os.getpid(), self.id) if is_unix else text_of(remote)
        self.requests_in_hand = 0
        self._is_lent = is_lent
        if not is_lent:
            life.hold_weakly()

    @property
    def state(self) -> ConnState:
        """ACTIVE or CLOSED: it is seen in a request, and no more than that is known."""
        return ConnState.ACTIVE if self._is_open() else ConnState.CLOSED

    def peer_status(self) -> PeerStatus:
        """Ask the kernel whether the peer is still there, as `Connection.peer_status` does.

        A server that has closed the connection during a request has read that the peer left.
        """
        try:
            return super().peer_status()
        except ConnectionClosedError:
            if self.requests_in_hand:
                return PeerStatus.CLOSED
            raise

    def hear_of_close(self) -> None:
        """From here on, tell the watch of the peer if the server closes first, having read the end.

        The kernel may never report of a descriptor that is closed so soon.
        """
        if not self._is_lent:  # a server that lends does not close meanwhile, nor would it be seen
            tell_of_closes(self)

    def is_watched(self) -> bool:
        """Tell whether there may be somebody to be told that the peer is gone."""
        return self._life.watched and self.requests_in_hand > 0

    def check_open(self) -> None:
        """If the server has closed it, tell those who watch the peer: it has read the end."""
        if not self._is_open():
            process_tracker.request_ended(self, peer_is_gone=True)

    def request_ended(self) -> None:
        """One of the requests in hand has ended: watch no more, and give back what was lent."""
        self.requests_in_hand -= 1
        if self.requests_in_hand:
            return
        process_tracker.request_ended(self, peer_is_gone=not self._is_open())
        lent = self._life.sock
        if self._is_lent and lent is not None:
            lent.detach()

    def _is_open(self) -> bool:
        sock = self._life.sock
        return sock is not None and sock.fileno() >= 0
