"""`Listener`: stands in for a listening socket, and tracks what it accepts."""

from __future__ import annotations

import contextlib
import errno
import selectors
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from .. import sockinfo
from .._connection.address import AF_UNIX
from .._connection.connection import Connection, life_of
from .duties import Duties
from .last_accepts import close_when_empty, peer_of, refuse
from .plain import TrackedSocket

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .._connection.address import SocketAddress
    from .._tracking.tracker import ConnectionTracker
    from .movable import Movable
    from .proxy_protocol import ProxyParser

__all__ = ["CAPACITY_ERRORS", "PASSING_ERRORS", "Listener"]

CAPACITY_ERRORS: Final = frozenset(
    {
        errno.EMFILE,  # this process is out of descriptors
        errno.ENFILE,  # the system is
        errno.ENOBUFS,  # the kernel is out of socket buffers
        errno.ENOMEM,  # or of memory
    }
)
"""Why accept() may fail while the listener is sound: wait and try again (accept(2))."""

PASSING_ERRORS: Final = frozenset(
    {
        errno.EAGAIN,  # another worker was quicker
        errno.ECONNABORTED,  # the client has left already
        # Errors of the new connection's own network, which Linux hands to accept().
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        getattr(errno, "ENONET", errno.ENETDOWN),
    }
)
"""Why accept() may fail for one connection only: go on with the next (accept(2))."""

_WILDCARDS: Final = ("0.0.0.0", "::")


class Listener:
    """Stands in for a listening socket; what it accepts is tracked.

    Everything but `accept` and `getsockname` is the listening socket's own.

    Args:
        sock: a listening ``socket.socket``, or a server's wrapper that forwards to one.
        tracker: who is told.
    """

    connection_class: type[Connection] = Connection
    """What is made of each connection that is accepted."""

    socket_class: type[Movable] = TrackedSocket
    """What is made of its descriptor."""

    proxy_parser_for: Callable[[SocketAddress], ProxyParser | None] | None = None
    """Makes what reads a PROXY protocol header, for a peer's address; None where none is read."""

    def __init__(self, sock: Any, tracker: ConnectionTracker) -> None:
        self._listening = sock
        # Not socket.accept(): it would build a socket object only for us to take apart.
        self._accept = sock._accept  # noqa: SLF001  of the standard library (Lib/socket.py)
        self._queue: deque[tuple[int, Any]] = deque()
        """The descriptors and addresses that `drain` has accepted."""
        self._tracker = tracker
        self._family: socket.AddressFamily = sock.family
        self._name: SocketAddress = sock.getsockname()
        self._names_local = self._family == AF_UNIX or self._name[0] not in _WILDCARDS
        """Whether our end of every connection has the name of the listening socket."""
        self._type = int(sock.type)
        self._proto = int(sock.proto)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listening, name)

    def __str__(self) -> str:
        return str(self._listening)

    def fileno(self) -> int:
        """Return the listening descriptor."""
        descriptor: int = self._listening.fileno()
        return descriptor

    def getsockname(self) -> SocketAddress:
        """Return the listening address; it does not change, so the kernel was asked once."""
        return self._name

    def save_syn(self) -> None:
        """Have the kernel keep the SYN of each connection from here on; TCP only."""
        if self._family != AF_UNIX:
            sockinfo.save_syn(self._socket)

    @property
    def _socket(self) -> Any:
        """The listening ``socket.socket`` itself."""
        return getattr(self._listening, "sock", self._listening)

    # Its end

    def refuse(self) -> None:
        """Have the kernel take no new connection, for any process that has this socket."""
        if self._socket.fileno() >= 0:
            refuse(self._socket)

    def drain(self) -> bool:
        """Accept what the kernel has queued, then close this process's copy of the socket.

        From here on `accept` returns what was queued; it fails with EAGAIN when nothing is left.

        Returns:
            Whether it is closed. Where descriptors have run out it is not: call this again when
            there are some, or the rest is lost.
        """
        sock = self._socket
        if sock.fileno() < 0:
            return True
        self._accept = self._next_queued
        sock.settimeout(0)
        while True:
            try:
                self._queue.append(sock._accept())  # noqa: SLF001  as above
            except OSError as exc:
                if exc.errno in CAPACITY_ERRORS:
                    return False
                if exc.errno == errno.EAGAIN or exc.errno not in PASSING_ERRORS:
                    break
        for descriptor in close_when_empty(sock):
            self._queue.append((descriptor, peer_of(descriptor, self._family)))
        return True

    @property
    def queued(self) -> int:
        """How many connections `drain` has accepted that `accept` has not returned."""
        return len(self._queue)

    def bring_forward(self, timeout: float) -> bool:
        """Have `accept` return a queued connection next on which something has come.

        Args:
            timeout: the seconds to wait for one.

        Returns:
            Whether there is one.
        """
        with selectors.DefaultSelector() as selector:
            for each in self._queue:
                selector.register(each[0], selectors.EVENT_READ, each)
            ready = selector.select(timeout) if self._queue else ()
        for key, _ in ready:
            self._queue.remove(key.data)
            self._queue.appendleft(key.data)
            return True
        return False

    def _next_queued(self) -> tuple[int, Any]:
        if not self._queue:
            raise BlockingIOError(errno.EAGAIN, "nothing is queued any more")
        return self._queue.popleft()

    # A connection's beginning

    def accept(self) -> tuple[Movable, SocketAddress]:
        """Accept a connection.

        Returns:
            The tracked socket, in blocking mode, and the peer's address. For a UNIX peer that is
            the override, or empty where no application wants it: never the path that the client
            has bound, which it chooses.

        Raises:
            OSError: as ``socket.accept`` does.
        """
        descriptor, address = self._accept()
        sock = self.socket_class(self._family, self._type, self._proto, descriptor)
        return self.adopt(sock, address)

    def accept_untracked(self) -> tuple[int, Any]:
        """Accept a connection for `adopt` in another process; return its descriptor and address.

        Raises:
            OSError: as ``socket.accept`` does.
        """
        descriptor, address = self._accept()
        return descriptor, address

    def adopt(self, sock: Movable, address: SocketAddress) -> tuple[Movable, SocketAddress]:
        """Track `sock`, accepted elsewhere on this listener from `address`; return as `accept`."""
        tracker = self._tracker
        local = self._name
        if not self._names_local:
            # Some systems know no name any more of a connection that was reset already.
            with contextlib.suppress(OSError):
                local = sock.getsockname()
        connection = self.connection_class(
            sock, tracker, family=self._family, remote_address=address, local_address=local
        )
        # First: as soon as there is an entry, other threads may end the connection.
        duties = Duties(connection, tracker)
        if self.proxy_parser_for is not None:
            duties.proxy_parser = self.proxy_parser_for(address)
        sock.take_up(duties)
        tracker.opened(connection)
        if self._family != AF_UNIX:
            return sock, address
        # PEP 3333: a native string, and no subclass
        return sock, life_of(connection).key if tracker.settings.unix_remote_addr else ""
