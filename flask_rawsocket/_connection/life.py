"""`Life`: what the server's side keeps of a connection while it lives.

A `Connection` is what the application holds. Its `Life` is what the tracker, the sockets and the
servers work on; each field says who writes it.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

from .native import RLock
from .state import ConnState

if TYPE_CHECKING:
    import socket
    import threading
    from collections import deque
    from collections.abc import Callable
    from typing import Self

    from .exchange import Exchange
    from .state import CloseReason

__all__ = ["Life", "moving"]

_moves = RLock()
"""Guards which socket object has the descriptor of a connection: a move is one step under it.

Re-entrant: what allocates may collect garbage, and a finalizer may close a connection.
"""


def moving() -> RLock:
    """Return the lock to be held while a descriptor moves from one socket object to another."""
    return _moves


def _after_fork() -> None:
    global _moves  # noqa: PLW0603  another thread of the parent may have held it
    _moves = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _WeakSocket(weakref.ref["socket.socket"]):
    """Refers weakly to a socket, and strongly to those parts that are to outlive it."""

    __slots__ = ("_parts",)

    _parts: object

    def __new__(cls, sock: socket.socket) -> Self:
        self = super().__new__(cls, sock)
        self._parts = getattr(sock, "parts", None)
        return self


class Life:
    """The record of one connection."""

    __slots__ = (
        "_held",
        "close_reason",
        "dispatch_lock",
        "due_hooks",
        "ended_here",
        "ending",
        "exchange",
        "force_close",
        "is_tls",
        "key",
        "state",
        "watched",
    )

    state: ConnState | None
    """None before NEW. Written by the tracker only, under its lock."""

    close_reason: CloseReason | None
    """Why it was closed; None while it is open. Written with CLOSED."""

    ending: CloseReason | None
    """What the reason would be if it were closed now; `ending.py` alone writes it."""

    ended_here: bool
    """Whether our side has told the peer that it ends. Written by the socket."""

    exchange: Exchange | None
    """The request in hand; None between requests. The server of the connection writes it."""

    force_close: bool
    """Whether it is to be closed after the response in hand, or the next one."""

    due_hooks: deque[tuple[Callable[..., object], ConnState | None, ConnState]] | None
    """Hook calls that are due, in order. Guarded by the tracker's lock."""

    dispatch_lock: threading.RLock | None
    """Held by the one thread that is making those calls."""

    watched: bool
    """Whether the watcher has an entry of it. Written by the tracker."""

    key: str
    """What `Connection.key` is made of. Written by the map, which alone knows what else is alive;
    a plain string, as there may be many."""

    is_tls: bool
    """Whether it carries TLS. Written by the socket that begins the handshake."""

    def __init__(self, sock: socket.socket, *, is_tls: bool) -> None:
        self._held: socket.socket | weakref.ref[socket.socket] | None = sock
        self.state = None
        self.close_reason = None
        self.ending = None
        self.ended_here = False
        self.exchange = None
        self.force_close = False
        self.due_hooks = None
        self.dispatch_lock = None
        self.watched = False
        self.is_tls = is_tls

    @property
    def sock(self) -> socket.socket | None:
        """The one socket object that has the descriptor; None once it is closed or forgotten."""
        held = self._held
        return held() if isinstance(held, weakref.ref) else held

    @sock.setter
    def sock(self, sock: socket.socket | None) -> None:
        self._held = sock

    def open_sock(self) -> socket.socket | None:
        """Return `sock` if it is open, after a move that another thread is making; else None."""
        with _moves:
            sock = self.sock
            return sock if sock is not None and sock.fileno() >= 0 else None

    def hold_weakly(self) -> None:
        """Keep the socket alive no longer: its new owner keeps it, or forgets it."""
        sock = self.sock
        self._held = sock and _WeakSocket(sock)

    def is_closed(self) -> bool:
        """Tell whether it is CLOSED now; another thread may make it so at any time."""
        return self.state is ConnState.CLOSED

    def is_hijacked(self) -> bool:
        """Tell whether it is HIJACKED now."""
        return self.state is ConnState.HIJACKED
