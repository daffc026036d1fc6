"""`GreenletSocket`: the server's end of a tracked connection without TLS, over gevent's socket.

gevent's socket is the same class whether or not the process has been patched. The raw socket in it
never blocks: what is there is read at once, and only then does a greenlet wait.
"""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING, Any, Final

import gevent.socket

from .._connection import ending
from .._sockets.by_kernel import send_by_kernel
from .._sockets.deadlines import READ, WRITE
from .._sockets.movable import Movable, Owned
from .._sockets.plain import DONT_WAIT
from .._sockets.rates import BodyWait, ResponseWait
from .waiting import GreenletWaiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._sockets.duties import Duties

__all__ = ["GreenletSocket"]

_FILE_CHUNK: Final = 65536


class GreenletSocket(GreenletWaiting, Movable, gevent.socket.socket):  # type: ignore[misc]
    """A socket of gevent's that reports to the tracker."""

    __slots__ = ("duties",)

    def __init__(
        self,
        family: int = -1,
        type: int = -1,  # noqa: A002  socket.socket's own name for it
        proto: int = -1,
        fileno: int | None = None,
    ) -> None:
        gevent.socket.socket.__init__(self, family, type, proto, fileno)
        self.timeout = None  # the default one is meant for sockets of the application's own
        self.duties = None

    def detach_raw(self) -> int:
        """Return the descriptor, which this object has no more; nothing is reported."""
        return int(gevent.socket.socket.detach(self))

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Read as ``socket.recv`` does, and report the first byte of a request."""
        duties = self.duties
        if duties is None:
            return super().recv(bufsize, flags)
        while True:
            data: bytes = self._in_time(duties, self._sock.recv, flags, bufsize, flags)
            duties.received += len(data)
            if not duties.head_due or not data or (data := duties.first_bytes(data)):
                return data
            if flags & DONT_WAIT:
                raise BlockingIOError(errno.EAGAIN, "nothing of a request has come")
            bufsize = duties.room(bufsize)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Read as ``socket.recv_into`` does, and report the first byte of a request."""
        duties = self.duties
        if duties is None:
            return super().recv_into(buffer, nbytes, flags)
        if duties.proxy_parser is not None:
            return self.fill(buffer, nbytes, flags)
        count: int = self._in_time(duties, self._sock.recv_into, flags, buffer, nbytes, flags)
        duties.received += count
        if duties.head_due and count:
            duties.request_begun()
        return count

    def _in_time(self, duties: Duties, read: Callable[..., Any], flags: int, /, *args: Any) -> Any:
        """Read before the deadline, and at the minimum rate: at once, or when there is something.

        Raises:
            BlockingIOError: there is nothing, and the socket is not to wait.
        """
        while True:
            if duties.read is not None:
                duties.read_left()
            try:
                return read(*args)
            except BlockingIOError:
                if flags & DONT_WAIT or self.timeout == 0:
                    raise
            except OSError as exc:
                ending.broke_off(duties.life, exc)
                raise
            wait = BodyWait(self, duties)
            try:
                (wait.until_ready if wait.is_due else self.wait_until_ready)(READ)
            except OSError as exc:
                ending.broke_off(duties.life, exc)
                raise
            read = getattr(self._sock, read.__name__)  # it may have been closed meanwhile

    def send(self, data: Any, flags: int = 0, /, **timeout: Any) -> int:
        """Write as ``socket.send`` does, before the write deadline and at the minimum rate."""
        duties = self.duties
        if duties is None:
            return super().send(data, flags, **timeout)
        if duties.write is not None:
            duties.write_left()
        size = len(data) if type(data) is bytes else memoryview(data).nbytes
        count = 0
        try:
            count = self._sock.send(data, flags)
        except BlockingIOError:
            if flags & DONT_WAIT or self.timeout == 0:
                raise
        if count < size and not (flags & DONT_WAIT or self.timeout == 0):
            with memoryview(data) as view, view.cast("B") as octets:
                return self._send_rest(duties, octets, count, flags)
        return count

    def _send_rest(self, duties: Duties, data: memoryview, count: int, flags: int) -> int:
        """Write all of `data`, as the kernel does where a socket blocks; `count` bytes are out."""
        wait = ResponseWait(self, duties)
        is_due = wait.is_due
        while count < len(data):
            if count and not is_due and self.timeout is not None:
                break
            (wait.until_ready if is_due else self.wait_until_ready)(WRITE)
            with contextlib.suppress(BlockingIOError):
                sent = self._sock.send(data[count:], flags)
                wait.sent(sent)
                count += sent
        return count

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Write as ``socket.sendall`` does, before the write deadline and at the minimum rate."""
        if self.duties is None:
            super().sendall(data, flags)
            return
        sent = self.send(data, flags)
        size = len(data) if type(data) is bytes else memoryview(data).nbytes
        if sent == size:
            return
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        rest = memoryview(data).cast("B")
        while sent < size:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError("timed out")
            sent += self.send(rest[sent:], flags)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Write as ``socket.sendfile`` does, before the write deadline and at the minimum rate.

        By the kernel, where it can; gevent itself reads the file and writes it.
        """
        duties = self.duties
        if duties is None:
            return super().sendfile(file, offset, count)
        sent = send_by_kernel(self, ResponseWait(self, duties), file, offset, count)
        if hasattr(file, "seek"):
            file.seek(offset + sent)
        while count is None or sent < count:
            data = file.read(_FILE_CHUNK if count is None else min(_FILE_CHUNK, count - sent))
            if not data:
                break
            self.sendall(data)
            sent += len(data)
        return sent


class OwnedGreenletSocket(Owned, GreenletSocket):  # type: ignore[misc]
    """What the new owner of a connection without TLS has."""

    __slots__ = ()


GreenletSocket.owned_class = OwnedGreenletSocket
