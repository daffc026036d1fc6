"""`Connection`: what a view holds.

Two rules: a Connection never reaches upward (what must be told to the tracker goes through the
`Owner` it was given), and it never writes its own state: that is the tracker's.
"""

from __future__ import annotations

import itertools
import math
import ssl
import threading
import time
import weakref
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ConnectionClosedError, UnsupportedError
from .address import AF_UNIX
from .kernel import KernelFacts
from .liveness import Liveness
from .state import ConnState
from .switching import switching_protocols

if TYPE_CHECKING:
    import socket
    from collections import deque
    from collections.abc import Callable, Iterable, Mapping
    from types import EllipsisType

    from .address import ProxyHeader, RemoteAddr, SocketAddress
    from .exchange import Exchange, StreamHandler
    from .hijacked import HijackedSocket
    from .liveness import Told
    from .state import CloseReason

__all__ = ["Connection", "Owner"]

_numbers = itertools.count(1)
"""An identity is a number of its own: descriptors, addresses and pointers are all used again."""

_data_lock = threading.Lock()
"""Guards the making of any connection's `data`."""


class Connection(KernelFacts, Liveness):
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
        "_exchange",
        "_force_close",
        "_is_tls",
        "_opened",
        "_opened_monotonic",
        "_owner",
        "_ref",
        "_state",
        "_watched",
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
        self._sock = sock
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._owner = owner
        self._state: ConnState | None = None
        """Written by the tracker only."""
        self._ending: CloseReason | None = None
        """What the reason will be if it is closed now; the server sets it as it learns."""
        self._exchange: Exchange | None = None
        """The request in hand; None between requests."""
        self._force_close = False
        """Whether it is to be closed after the response in hand, or the next one."""
        self._calls: deque[tuple[Callable[..., object], ConnState | None, ConnState]] | None = None
        """Hook calls that are due, in order; guarded by the tracker's lock."""
        self._dispatch_lock: threading.RLock | None = None
        """Held by the one thread that is making those calls."""
        self._watched = False
        """Whether the watcher has it."""
        self._data: dict[Any, Any] | None = None
        self._opened = time.time()
        self._opened_monotonic = time.monotonic()

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.key} {self.state.name}>"

    @property
    def _sock(self) -> socket.socket | None:
        """The socket; None once it is closed."""
        ref = self._ref
        return ref() if isinstance(ref, weakref.ref) else ref

    @_sock.setter
    def _sock(self, sock: socket.socket | None) -> None:
        self._ref: socket.socket | weakref.ref[socket.socket] | None = sock

    def _lend(self) -> None:
        """Do not keep the socket alive any more: it is its new owner's, to keep or to forget."""
        sock = self._sock
        self._ref = sock and weakref.ref(sock)

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
        """Whether it carries TLS; False before the handshake has begun."""
        return self._is_tls

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
            with _data_lock:  # two threads are to find the same one
                if self._data is None:
                    self._data = {}
        return self._data

    @property
    def sock(self) -> socket.socket:
        """The live socket, a ``socket.socket`` or under TLS an ``ssl.SSLSocket``.

        The server goes on using it.  Read facts and set options; to read or write bytes yourself,
        take the connection over.

        Raises:
            ConnectionClosedError: it has been closed.
        """
        sock = self._sock
        while sock is not None:
            if sock.fileno() >= 0:
                return sock
            # A hijack moves the descriptor to another socket: we may have been at the old one.
            emptied, sock = sock, self._sock
            if sock is emptied:
                break
        raise self._closed_error()

    def fileno(self) -> int:
        """Give the descriptor, which is the server's to close.

        Raises:
            ConnectionClosedError: it has been closed.
        """
        while (descriptor := self.sock.fileno()) < 0:
            pass  # it has moved, or been closed, since `sock` has looked
        return descriptor

    def _watch(self, told: Told) -> Callable[[], None]:
        """Have `told` told when the peer is gone; give what takes that back."""
        return self._owner.watch(self, told)

    def set_deadlines(
        self, *, read: float | EllipsisType | None = ..., write: float | EllipsisType | None = ...
    ) -> None:
        """Let reading the request, or writing the response, go on for so long and no longer.

        Past its deadline a read raises ``TimeoutError`` in the view, and a write raises it in the
        server, which closes the connection.  They are gone at the end of the request.

        Args:
            read: seconds from now; None lifts the deadline; left out, it stays.
            write: likewise.

        Raises:
            ValueError: that is no number of seconds.
            ConnectionClosedError: it has been closed.
            UnsupportedError: the server is not one of this package's, or the event loop has the
                connection; use ``asyncio.timeout`` there.
        """
        sock = self.sock
        if not self.managed:
            raise self._foreign_error()
        if sock.gettimeout() == 0:
            raise UnsupportedError("set_deadlines is not supported on a non-blocking socket")
        now = time.monotonic()
        if read is not ...:
            sock.set_read_deadline(None if read is None else now + _seconds(read))  # type: ignore[attr-defined]
        if write is not ...:
            sock.set_write_deadline(None if write is None else now + _seconds(write))  # type: ignore[attr-defined]

    def close_after_response(self) -> None:
        """Close the connection after this request's response instead of keeping it alive.

        The response says ``Connection: close`` (RFC 9112, section 9.6) if its head has not been
        sent yet; the connection is closed either way.  Between requests it holds for the next one.

        Raises:
            ConnectionClosedError: it has been closed already.
            UnsupportedError: the server is not one of this package's.
        """
        if self._state is ConnState.CLOSED:
            raise self._closed_error()
        self._owner.force_close(self)

    def abort(self) -> None:
        """Reset the connection: the peer gets an RST, whatever was to be sent is dropped.

        In a view it takes effect at once, and what the view returns is dropped too.  From outside
        of the connection's request it takes effect when the server next touches it.

        Raises:
            ConnectionClosedError: it has been closed already.
            UnsupportedError: the server is not one of this package's.
        """
        if self._state is ConnState.CLOSED:
            raise self._closed_error()
        self._owner.abort(self)

    def hijack(self) -> HijackedSocket:
        """Take the connection over from the server.

        When this returns the server touches the socket no more: no status line, no chunk, no close,
        no poll.  Nothing is lost: what it had read ahead comes out of the stream first.  A pending
        ``Expect: 100-continue`` is not answered; deadlines are lifted; reading ``request.stream``
        raises.  The view may serve the connection and return, or return and leave it to another
        thread; what it returns is dropped.  The owner closes it; then it becomes CLOSED.

        Returns:
            The stream, to read, to write and to close.

        Raises:
            AlreadyHijackedError: it has been taken over before.
            InvalidStateError: the response has begun, or no request is in hand.
            ConnectionClosedError: it has been closed.
            UnsupportedError: the request came by HTTP/2, the server is not one of this package's,
                or a chunked body has been read in part.
        """
        return self._owner.hijack(self)

    def upgrade(
        self, protocol: str, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    ) -> HijackedSocket:
        """Answer ``101 Switching Protocols`` and take the connection over.

        Args:
            protocol: what the response's ``Upgrade`` says, such as ``websocket``.
            headers: more fields of the response, such as ``Sec-WebSocket-Accept``.

        Returns:
            The stream, as `hijack` does.

        Raises:
            ValueError: the protocol or a field is not one that HTTP allows, or not there.
            ConnectionBrokenError: the peer has left.
            RawSocketError: what `hijack` raises.
        """
        head = switching_protocols(protocol, headers)
        stream = self.hijack()
        try:
            stream.sendall(head)
        except BaseException:
            stream.close()
            raise
        return stream

    def hijack_async(
        self,
        handler: StreamHandler,
        *,
        protocol: str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> None:
        """Take the connection over, and have `handler` serve it on an event loop.

        There is one loop in the process, in a thread of its own, so that a connection which is
        served here holds no thread.  The view returns at once; what it returns is dropped.

        Args:
            handler: ``await handler(reader, writer)`` is called with asyncio streams, from which
                what the server had read ahead comes out first.  When it returns the connection is
                closed; what it raises is logged.  When the worker stops it is cancelled, after the
                grace period.
            protocol: answer ``101 Switching Protocols`` first, as `upgrade` does.
            headers: more fields of that response.

        Raises:
            TypeError: `handler` cannot be called.  One that is no coroutine function is logged.
            ValueError: as `upgrade` says; or there are fields, and no `protocol`.
            RawSocketError: what `hijack` raises.
        """
        if not callable(handler):
            raise TypeError(f"{handler!r} is no handler: hijack_async takes a coroutine function")
        if protocol is None and headers:
            raise ValueError("headers are those of a 101 response: say which protocol it is for")
        stream = self.hijack() if protocol is None else self.upgrade(protocol, headers)
        self._owner.serve(self, stream, handler)

    def _closed_error(self) -> ConnectionClosedError:
        return ConnectionClosedError(f"{self!r} has been closed")

    def _foreign_error(self) -> UnsupportedError:
        return UnsupportedError(
            f"{self!r} is kept by a server that is not ours; "
            "use flask_rawsocket.Worker or `flask rawsocket run`"
        )


def _seconds(value: float) -> float:
    if not value > -math.inf:  # nor NaN
        raise ValueError(f"{value!r} is no number of seconds")
    return value


class Owner(Protocol):
    """Who keeps a Connection's state: the tracker, or for a foreign server its stand-in."""

    def force_close(self, connection: Connection) -> None:
        """See to it that `connection` is closed once its response has been sent."""

    def hijack(self, connection: Connection) -> HijackedSocket:
        """Let go of `connection`, and give what its new owner holds."""

    def serve(self, connection: Connection, stream: HijackedSocket, handler: StreamHandler) -> None:
        """Have `handler` serve `stream`, the one of `connection`, on the event loop."""

    def abort(self, connection: Connection) -> None:
        """Reset `connection`."""

    def watch(self, connection: Connection, told: Told) -> Callable[[], None]:
        """Tell `told` once the peer is gone, an Event also at the end; give what takes it back."""
