"""`TrackedSocket`: the server's end of a tracked connection, where it carries no TLS.

It is a real ``socket.socket``, so that whatever a server does with a socket goes on working.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .._connection import ending
from .by_kernel import send_by_kernel
from .movable import Movable, Owned
from .rates import BodyWait, ResponseWait

if TYPE_CHECKING:
    from collections.abc import Callable

    from .duties import Duties

__all__ = ["DONT_WAIT", "TrackedSocket"]

_T = TypeVar("_T")

DONT_WAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)
"""For a call that must not wait whatever the timeout is; 0 where there is no such flag."""

_recv = socket.socket.recv
_recv_into = socket.socket.recv_into
_send = socket.socket.send
_sendall = socket.socket.sendall
_FILE_CHUNK: Final = 65536


class TrackedSocket(Movable, socket.socket):
    """A plain socket that reports to the tracker."""

    __slots__ = ("duties",)

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
        self.duties = None

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  socket.socket's own
        """Make it block or not, as ``socket.setblocking`` does.

        Without a call to the system where nothing changes: a server says so before each request.
        """
        if not flag or self.gettimeout() is not None:
            super().setblocking(flag)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:  # noqa: C901  a call costs time
        """Read as ``socket.recv`` does, and report the first byte of a request."""
        duties = self.duties
        if duties is None:
            return _recv(self, bufsize, flags)
        while True:
            if duties.read is not None or not DONT_WAIT:
                data = self._in_time(duties, _recv, bufsize, flags)
            else:
                try:
                    data = _recv(self, bufsize, flags | DONT_WAIT)
                except BlockingIOError:
                    if flags & DONT_WAIT:
                        raise
                    data = self._when_ready(duties, _recv, bufsize, flags)
                except OSError as exc:
                    ending.broke_off(duties.life, exc)
                    raise
            duties.received += len(data)
            if not duties.head_due or not data or (data := duties.first_bytes(data)):
                return data
            if flags & DONT_WAIT:
                # A client that sends empty lines for ever would hold a thread that is not to wait.
                raise BlockingIOError(errno.EAGAIN, "nothing of a request has come")
            bufsize = duties.room(bufsize)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Read as ``socket.recv_into`` does, and report the first byte of a request."""
        duties = self.duties
        if duties is None:
            return _recv_into(self, buffer, nbytes, flags)
        if duties.proxy_parser is not None:
            return self.fill(buffer, nbytes, flags)
        count = self._in_time(duties, _recv_into, buffer, nbytes, flags)
        duties.received += count
        if duties.head_due and count:
            duties.request_begun()
        return count

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Write as ``socket.send`` does, before the write deadline and at the minimum rate."""
        duties = self.duties
        if duties is None:
            return _send(self, data, flags)
        is_timed = duties.write is not None and self._may_outlast(duties.write_left(), flags)
        # No view of it is kept: an error would, and asyncio is to empty its buffer then.
        size = len(data) if type(data) is bytes else memoryview(data).nbytes
        count = 0
        if DONT_WAIT and not is_timed:
            try:
                count = _send(self, data, flags | DONT_WAIT)
            except BlockingIOError:
                if flags & DONT_WAIT:
                    raise
        if count < size and not flags & DONT_WAIT:
            with memoryview(data) as view, view.cast("B") as octets:
                return self._send_rest(duties, octets, count, flags)
        return count

    def _send_rest(self, duties: Duties, data: memoryview, count: int, flags: int) -> int:
        """Write all of `data`, as the kernel does where a socket blocks; `count` bytes are out.

        Some who have such a socket do not look at what send() returns.
        """
        wait = ResponseWait(self, duties)
        if not wait.is_due:
            if count and self.gettimeout() is not None:
                return count
            return count + _send(self, data[count:], flags)
        while count < len(data):
            wait.until_ready()
            with contextlib.suppress(BlockingIOError):
                sent = _send(self, data[count:], flags | DONT_WAIT)
                wait.sent(sent)
                count += sent
        return count

    def send_at_once(self, data: Any) -> int:
        """Write what there is room for, and return how much that is.

        Raises:
            BlockingIOError: there is none.
            OSError: as ``socket.send`` does.
        """
        return _send(self, data, DONT_WAIT)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Write as ``socket.sendall`` does, before the write deadline and at the minimum rate."""
        duties = self.duties
        if duties is None:
            return _sendall(self, data, flags)
        if type(data) is not bytes:
            data = memoryview(data).cast("B")
        elif duties.write is None and DONT_WAIT:
            try:
                if (sent := _send(self, data, flags | DONT_WAIT)) == len(data):
                    return None
                data = memoryview(data)[sent:]
            except BlockingIOError:
                pass
        sent = self.send(data, flags)
        if sent < len(data):  # only with a timeout, which limits the whole, or with DONT_WAIT
            return _sendall(self, memoryview(data)[sent:], flags)
        return None

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Write as ``socket.sendfile`` does, before the write deadline and at the minimum rate."""
        duties = self.duties
        if duties is None:
            return super().sendfile(file, offset, count)
        wait = ResponseWait(self, duties)
        if not wait.is_due:
            return super().sendfile(file, offset, count)
        before = self.gettimeout()
        self.settimeout(0)
        try:
            sent = send_by_kernel(self, wait, file, offset, count)
        finally:
            if self.fileno() >= 0:
                self.settimeout(before)
        if hasattr(file, "seek"):
            file.seek(offset + sent)
        while count is None or sent < count:
            data = file.read(_FILE_CHUNK if count is None else min(_FILE_CHUNK, count - sent))
            if not data:
                break
            self.sendall(data)
            sent += len(data)
        return sent

    def _in_time(self, duties: Duties, read: Callable[..., _T], first: Any, /, *rest: int) -> _T:
        """Read before the deadline: at once if there is something, else when there is.

        By poll() rather than by a timeout of the socket's, which would take a system call to set
        and another to lift in every request.
        """
        *numbers, flags = rest
        is_timed = duties.read is not None and self._may_outlast(duties.read_left(), flags)
        if DONT_WAIT and not is_timed:
            try:
                return read(self, first, *numbers, flags | DONT_WAIT)
            except BlockingIOError:
                if flags & DONT_WAIT:
                    raise
            except OSError as exc:
                ending.broke_off(duties.life, exc)
                raise
        return self._when_ready(duties, read, first, *rest)

    def _may_outlast(self, left: float, flags: int) -> bool:
        """Tell whether a call may wait beyond its deadline, which is in `left` seconds.

        Where a socket has a timeout, Python waits for so long before it makes the call, whatever
        the flags are. gunicorn sets one for HTTP/2.
        """
        return not flags & DONT_WAIT and (self.gettimeout() or 0) > left

    def _when_ready(self, duties: Duties, read: Callable[..., _T], first: Any, /, *rest: int) -> _T:
        """Read when there is something: before the deadline, and at the minimum rate."""
        *numbers, flags = rest
        wait = BodyWait(self, duties)
        try:
            if not wait.is_due:
                return read(self, first, *rest)
            while True:
                wait.until_ready()
                with contextlib.suppress(BlockingIOError):
                    return read(self, first, *numbers, flags | DONT_WAIT)
        except OSError as exc:
            ending.broke_off(duties.life, exc)
            raise


class OwnedSocket(Owned, TrackedSocket):
    """What the new owner of a connection without TLS has."""

    __slots__ = ()


TrackedSocket.owned_class = OwnedSocket
