"""`Connection`: what a view holds.

It is the last link of a chain, each of a file: the live socket, what the kernel knows of it, the
peer's side, what the server can be asked to do, and here what the connection is.

Two rules: a Connection never reaches upward (what the tracker is to do goes through the `Keeper`
that it was given), and it never writes its own state: that is the tracker's, in its `Life`.
"""

from __future__ import annotations

import itertools
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..sockinfo._tls import is_tls
from .address import AF_UNIX, RemoteAddr
from .life import Life
from .state import ConnState
from .steering import Steering

if TYPE_CHECKING:
    import socket

    from .address import SocketAddress
    from .proxy_header import ProxyHeader
    from .state import CloseReason
    from .steering import Keeper

__all__ = ["Connection", "life_of"]

_numbers = itertools.count(1)
"""An identity is a number of its own: descriptors, addresses and pointers are all used again."""

_data_lock = threading.Lock()
"""Guards the making of any connection's `data`."""


class Connection(Steering):
    """One accepted connection, from its first moment to its last.

    Attributes:
        id: a number that no other connection of this process has, had or will have.
        remote_address: the peer's socket address as ``accept()`` gave it.
        local_address: our end's socket address, read at accept.
        family: the address family, such as ``socket.AF_INET``.
        requests: how many requests have come in on it, 1 in the first.
        proxy: what a PROXY protocol header said of the client; None without one. Known before the
            connection is ACTIVE.
    """

    __slots__ = (
        "__weakref__",
        "_data",
        "_opened",
        "_opened_at",
        "family",
        "id",
        "local_address",
        "proxy",
        "remote_address",
        "requests",
    )

    managed: bool = True
    """Whether one of this package's servers keeps it; False on any other server."""

    def __init__(
        self,
        sock: socket.socket,
        keeper: Keeper,
        *,
        family: socket.AddressFamily,
        remote_address: SocketAddress,
        local_address: SocketAddress,
    ) -> None:
        super().__init__(Life(sock, is_tls=is_tls(sock)), keeper)
        self.id = next(_numbers)
        self.remote_address = remote_address
        self.local_address = local_address
        self.family = family
        self.requests = 0
        self.proxy: ProxyHeader | None = None
        self._data: dict[Any, Any] | None = None
        self._opened = time.monotonic()
        self._opened_at: datetime | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.key} {self.state.name}>"

    @property
    def key(self) -> RemoteAddr:
        """The peer as text, unique among the live connections of this process."""
        return RemoteAddr(self._life.key)

    @property
    def state(self) -> ConnState:
        """What the connection is doing now. Another thread may change it at any time."""
        state = self._life.state
        return state if state is not None else ConnState.NEW

    @property
    def close_reason(self) -> CloseReason | None:
        """Why it was closed; None while it is open."""
        return self._life.close_reason

    @property
    def is_unix(self) -> bool:
        """Whether this is a connection over a UNIX socket."""
        return self.family == AF_UNIX

    @property
    def is_tls(self) -> bool:
        """Whether it carries TLS; False before the handshake has begun."""
        return self._life.is_tls

    @property
    def opened_at(self) -> datetime:
        """When it was accepted, in UTC."""
        opened_at = self._opened_at
        if opened_at is None:
            # By the clock as it is now: it may have been set since.
            opened_at = self._opened_at = datetime.fromtimestamp(time.time() - self.age, UTC)
        return opened_at

    @property
    def age(self) -> float:
        """How long ago it was accepted, in seconds of the monotonic clock."""
        return time.monotonic() - self._opened

    @property
    def data(self) -> dict[Any, Any]:
        """A dict for the application, as long-lived as the connection."""
        if self._data is None:
            with _data_lock:  # two threads are to find the same one
                if self._data is None:
                    self._data = {}
        return self._data


def life_of(connection: Connection) -> Life:
    """Return the record of `connection`: for the tracker, the sockets and the servers."""
    return connection._life  # noqa: SLF001  the one way to it
