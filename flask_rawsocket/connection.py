"""`Connection`: what a view holds.

Two rules: a Connection never reaches upward (what must be told to the tracker goes through the
`Owner` it was given), and it never writes its own state: that is the tracker's.
"""

from __future__ import annotations

import itertools
import ssl
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from ._address import AF_UNIX
from ._state import ConnState
from .errors import ConnectionClosedError

if TYPE_CHECKING:
    import socket
    import threading
    from collections import deque
    from collections.abc import Callable

    from ._address import ProxyHeader, RemoteAddr, SocketAddress
    from ._state import CloseReason

__all__ = ["Connection", "Owner"]

_numbers = itertools.count(1)
"""An identity is a number of its own: descriptors, addresses and pointers are all used again."""


class Owner(Protocol):
    """Who keeps a Connection's state: the tracker, or for a foreign server its stand-in."""

    def force_close(self, connection: Connection) -> None:
        """See to it that `connection` is closed once its response has been sent."""


class Connection:
    """One accepted connection, from its first moment to its last.

    Attributes:
        id: a number that no other connection of this process has, had or will have.
        key: the peer as text, unique among the live connections of this process.
        remote_address: the peer's socket address as ``accept()`` gave it.
        local_address: our end's socket address, read at accept.
        family: the address family, such as ``socket.AF_INET``.
        managed: whether one of this package's servers keeps it; False on any other server.
        requests: how many requests have come in on it, 1 in the first.
        close_reason: why it was closed; None while it is open.
        proxy: what a PROXY protocol header said of the client; None without one.
    """

    __slots__ = (
        "__weakref__",
        "_calls",
        "_data",
        "_dispatch_lock",
        "_ending",
        "_force_close",
        "_opened",
        "_opened_monotonic",
        "_owner",
        "_sock",
        "_state",
        "close_reason",
        "family",
        "id",
        "key",
        "local_address",
        "managed",
        "proxy",
        "remote_address",
        "requests",
    )

    def __init__(
        self,
        sock: socket.socket,
        owner: Owner,
        *,
        family: socket.AddressFamily,
        remote_address: SocketAddress,
        local_address: SocketAddress,
        managed: bool = True,
    ) -> None:
        self.id = next(_numbers)
        self.key: RemoteAddr
        """Given by the tracker, which alone knows what else is alive."""
        self.remote_address = remote_address
        self.local_address = local_address
        self.family = family
        self.managed = managed
        self.requests = 0
        self.close_reason: CloseReason | None = None
        self.proxy: ProxyHeader | None = None
        self._sock: socket.socket | None = sock
        self._owner = owner
        self._state: ConnState | None = None
        """Written by the tracker only."""
        self._ending: CloseReason | None = None
        """What the reason will be if it is closed now; the server sets it as it learns."""
        self._force_close: Callable[[], None] | bool = False
        """How to make the response in hand say ``Connection: close``; True once that was asked."""
        self._calls: deque[tuple[Callable[..., object], ConnState | None, ConnState]] | None = None
        """Hook calls that are due, in order; guarded by the tracker's lock."""
        self._dispatch_lock: threading.RLock | None = None
        """Held by the one thread that is making those calls."""
        self._data: dict[Any, Any] | None = None
        self._opened = time.time()
        self._opened_monotonic = time.monotonic()

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.key} {self.state.name}>"

    @property
    def state(self) -> ConnState:
        """What the connection is doing now.  Another thread may change it at any time."""
        return self._state if self._state is not None else ConnState.NEW

    @property
    def is_unix(self) -> bool:
        """Whether this is a connection over a UNIX socket."""
        return self.family == AF_UNIX

    @property
    def is_tls(self) -> bool:
        """Whether it carries TLS; False before the handshake has begun, and after close."""
        return isinstance(self._sock, ssl.SSLSocket)

    @property
    def opened_at(self) -> datetime:
        """When it was accepted, in UTC."""
        return datetime.fromtimestamp(self._opened, UTC)

    @property
    def age(self) -> float:
        """How long ago it was accepted, in seconds of the monotonic clock."""
        return time.monotonic() - self._opened_monotonic

    @property
    def data(self) -> dict[Any, Any]:
        """A dict for the application, as long-lived as the connection."""
        if self._data is None:
            self._data = {}
        return self._data

    @property
    def sock(self) -> socket.socket:
        """The live socket: a ``socket.socket``, or an ``ssl.SSLSocket`` under TLS.

        The server goes on using it.  Read facts and set options; to read or write bytes yourself,
        take the connection over.

        Raises:
            ConnectionClosedError: it has been closed.
        """
        sock = self._sock
        if sock is None or sock.fileno() < 0:
            raise ConnectionClosedError(f"{self!r} has been closed")
        return sock

    def fileno(self) -> int:
        """Give the descriptor, which is the server's to close.

        Raises:
            ConnectionClosedError: it has been closed.
        """
        return self.sock.fileno()

    def close_after_response(self) -> None:
        """Close the connection after this request's response instead of keeping it alive.

        The response says ``Connection: close`` (RFC 9112, section 9.6) if its head has not been
        sent yet; the connection is closed either way.

        Raises:
            ConnectionClosedError: it has been closed already.
            UnsupportedError: the server is not one of this package's.
        """
        if self._state is ConnState.CLOSED:
            raise ConnectionClosedError(f"{self!r} has been closed")
        self._owner.force_close(self)
