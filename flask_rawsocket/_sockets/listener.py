"""`Listener`: stands in for a listening socket, and tracks what it accepts."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Any, Final

from .. import sockinfo
from .._connection.address import AF_UNIX
from .plain import TrackedSocket

if TYPE_CHECKING:
    import socket

    from .._connection.address import SocketAddress
    from .._tracking.tracker import ConnectionTracker

__all__ = ["CAPACITY_ERRORS", "COMPLAINT_PAUSE", "Listener"]

CAPACITY_ERRORS: Final = frozenset(
    {
        errno.EMFILE,  # this process is out of descriptors
        errno.ENFILE,  # the system is
        errno.ENOBUFS,  # the kernel is out of socket buffers
        errno.ENOMEM,  # or of memory
    }
)
"""Why accept() may fail while the listener is sound: wait and try again (accept(2))."""

COMPLAINT_PAUSE: Final = 10.0
"""Seconds between two lines in the log that say so."""

_WILDCARDS: Final = ("0.0.0.0", "::")


class Listener:
    """Stands in for a listening socket; what it accepts is tracked.

    Everything but `accept` and `getsockname` is the listening socket's own.

    Args:
        sock: a listening ``socket.socket``, or a server's wrapper that forwards to one.
        tracker: who is told.
    """

    def __init__(self, sock: Any, tracker: ConnectionTracker) -> None:
        self._listening = sock
        # Not socket.accept(): it would build a socket object only for us to take apart.
        self._accept = sock._accept
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
        """Give the listening descriptor."""
        descriptor: int = self._listening.fileno()
        return descriptor

    def getsockname(self) -> SocketAddress:
        """Give the listening address; it does not change, so the kernel was asked once."""
        return self._name

    def save_syn(self) -> None:
        """Have the kernel keep the SYN of each connection from here on; TCP only."""
        if self._family != AF_UNIX:
            sockinfo.save_syn(getattr(self._listening, "sock", self._listening))

    def accept(self) -> tuple[TrackedSocket, SocketAddress]:
        """Accept a connection.

        Returns:
            The tracked socket, in blocking mode, and the peer's address; for a UNIX peer the
            override, unless the application turned that off.

        Raises:
            OSError: as ``socket.accept`` does.
        """
        descriptor, address = self._accept()
        sock = TrackedSocket(self._family, self._type, self._proto, descriptor)
        return self.adopt(sock, address)

    def adopt(
        self, sock: TrackedSocket, address: SocketAddress
    ) -> tuple[TrackedSocket, SocketAddress]:
        """Track `sock`, accepted elsewhere on this listener from `address`; return as `accept`."""
        tracker = self._tracker
        local = self._name
        if not self._names_local:
            # Some systems know no name any more of a connection that was reset already.
            with contextlib.suppress(OSError):
                local = sock.getsockname()
        connection = tracker.opened(sock, self._family, address, local)
        sock._tracker = tracker
        sock._connection = connection
        sock._head_due = True
        if self._family == AF_UNIX and tracker.settings.unix_remote_addr:
            return sock, str(connection.key)  # PEP 3333: a native string, and no subclass
        return sock, address
