"""`TrackedSocket`: the server's end of a tracked connection, where it carries no TLS.

It is a real ``socket.socket``, so that whatever a server does with a socket goes on working.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .calls import Use
from .tracked import ABORTED, READ, WRITE, Tracked, ready

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DONT_WAIT", "READ", "WRITE", "TrackedSocket", "ready"]

_T = TypeVar("_T")

DONT_WAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)
"""For a call that must not wait whatever the timeout is; 0 where there is no such flag."""

_recv = socket.socket.recv
_recv_into = socket.socket.recv_into
_send = socket.socket.send
_sendall = socket.socket.sendall
_FILE_CHUNK: Final = 65536


class TrackedSocket(Tracked):
    """A plain socket that reports to the tracker."""

    __slots__ = (
        "_closes_at_once",
        "_connection",
        "_ended",
        "_head_due",
        "_in_head",
        "_read_deadline",
        "_reporting",
        "_submit_close",
        "_tracker",
        "_use",
        "_write_deadline",
    )

    def __init__(
        self,
        family: int = -1,
        type: int = -1,  # noqa: A002  socket.socket's own name for it
        proto: int = -1,
        fileno: int | None = None,
    ) -> None:
        super().__init__(family, type, proto, fileno)
        if socket.getdefaulttimeout() is not None:
            self.settimeout(None)  # that one is meant for sockets of the application's own
        self._connection = None
        self._tracker = None
        self._head_due = False
        self._in_head = False
        self._read_deadline = None
        self._write_deadline = None
        self._closes_at_once = False
        self._reporting = False
        self._ended = False
        self._use = None
        self._submit_close = None

    def give_away(self) -> TrackedSocket:
        """Move the descriptor to a new socket; this one, which the server has, is an empty shell.

        Whatever the server still does with it fails with EBADF, and touches nothing.
        """
        connection, self._connection = self._connection, None
        family, kind, proto = self.family, self.type, self.proto
        # Who asks the Connection meanwhile is answered by one or the other: never by neither.
        moved = OwnedSocket(family, kind, proto, self.fileno())
        moved._tracker = self._tracker
        moved._connection = connection
        moved._closes_at_once = self._closes_at_once
        if self._is_aborted:
            moved._write_deadline = ABORTED
        moved.settimeout(self.gettimeout())  # not socket.setdefaulttimeout's
        if connection is not None:
            connection._sock = moved
        socket.socket.detach(self)
        return moved

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Read as ``socket.recv`` does, and report the first byte of a request."""
        if self._read_deadline is None:
            data = _recv(self, bufsize, flags)
        else:
            data = self._in_time(_recv, bufsize, flags)
        if self._head_due and data:
            self.request_begun()
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Read as ``socket.recv_into`` does, and report the first byte of a request."""
        if self._read_deadline is None:
            count = _recv_into(self, buffer, nbytes, flags)
        else:
            count = self._in_time(_recv_into, buffer, nbytes, flags)
        if self._head_due and count:
            self.request_begun()
        return count

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Write as ``socket.send`` does, before the write deadline."""
        if self._write_deadline is None:
            return _send(self, data, flags)
        self._wait(WRITE)
        return _send(self, data, flags | DONT_WAIT)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Write as ``socket.sendall`` does, before the write deadline."""
        if self._write_deadline is None:
            return _sendall(self, data, flags)
        view = memoryview(data).cast("B")
        while view:
            with contextlib.suppress(BlockingIOError):
                view = view[self.send(view, flags) :]
        return None

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Write as ``socket.sendfile`` does, before the write deadline."""
        if self._write_deadline is None:
            return super().sendfile(file, offset, count)
        file.seek(offset)
        sent = 0
        while count is None or sent < count:
            data = file.read(_FILE_CHUNK if count is None else min(_FILE_CHUNK, count - sent))
            if not data:
                break
            self.sendall(data)
            sent += len(data)
        return sent

    def _in_time(self, read: Callable[..., _T], first: Any, *rest: int) -> _T:
        """Read before the deadline: at once if there is something, else when there is."""
        self._time_left()
        *numbers, flags = rest
        if DONT_WAIT:
            with contextlib.suppress(BlockingIOError):
                return read(self, first, *numbers, flags | DONT_WAIT)
        self._wait(READ)
        return read(self, first, *numbers, flags)

    def _wait(self, what: int) -> None:
        """Wait until there is something to read, or room to write, but not past the deadline.

        By poll() rather than by a timeout of the socket's, which would take a system call to set
        and another to lift in every request.
        """
        while not ready(self, what, self._time_left() if what == READ else self._write_left()):
            pass


class OwnedSocket(TrackedSocket):
    """What a connection's new owner has: a close finds the calls that other threads are amid."""

    __slots__ = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # dup() gives its descriptor by name
        self._use: Use = Use()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Read as ``socket.recv`` does."""
        with self._use:
            return super().recv(bufsize, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Read as ``socket.recv_into`` does."""
        with self._use:
            return super().recv_into(buffer, nbytes, flags)

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Write as ``socket.send`` does."""
        with self._use:
            return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Write as ``socket.sendall`` does."""
        with self._use:
            super().sendall(data, flags)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Write as ``socket.sendfile`` does."""
        with self._use:
            return super().sendfile(file, offset, count)
