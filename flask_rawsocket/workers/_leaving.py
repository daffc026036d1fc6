"""`LeavingResponse`: a response that leaves to the poller what its socket has no room for.

Only what is complete is left: bytes and lists of a known length, files, and the end of any other
response. A thread waits for a client only while its view still makes what is to be sent.
"""

from __future__ import annotations

import os
import ssl
import stat
from typing import TYPE_CHECKING, Any, Final

from ._outgoing import Outgoing
from ._response import Response, Wire

if TYPE_CHECKING:
    from .._connection.life import Life

__all__ = ["LeavingResponse", "LeavingWire", "rest_of"]

_NO_ROOM: Final = (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError)


class LeavingWire(Wire):
    """A `Wire` that waits for no room where it may leave what it sends."""

    __slots__ = ("outgoing",)

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.outgoing: Outgoing | None = None
        """What has been left."""

    @property
    def held(self) -> int:  # type: ignore[override]
        """The bytes that wait for room."""
        return 0 if self.outgoing is None else self.outgoing.size

    @property
    def can_leave(self) -> bool:
        """Whether anything may be left; a deadline of the view's is kept by its own thread."""
        duties = self._sock.duties
        return duties is not None and duties.write is None

    def leave_file(self, file: int, offset: int, count: int, *, by_kernel: bool) -> None:
        """Send a part of a file behind the head; what there is no room for is left.

        Args:
            file: its descriptor, which is closed when it is not needed any more.
            offset: where the part begins, in bytes.
            count: how many bytes it has.
            by_kernel: whether sendfile(2) may send it; not under TLS.

        Raises:
            OSError: the peer is gone.
        """
        outgoing = self._left()
        outgoing.put_file(file, offset, count, by_kernel=by_kernel)
        self._flush_left()

    def _send(self, data: bytes | memoryview) -> None:
        if not (self.may_leave and self.can_leave):
            self._send_left()
            super()._send(data)
            return
        if self.outgoing is None:
            try:
                sent = self._sock.send_at_once(data)
            except _NO_ROOM:
                sent = 0
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        self._left().put(data)
        self._flush_left()

    def _left(self) -> Outgoing:
        if self.outgoing is None:
            self.outgoing = Outgoing(self._sock)
        return self.outgoing

    def _flush_left(self) -> None:
        if self.outgoing is not None and self.outgoing.flush() is None:
            self.outgoing = None

    def _send_left(self) -> None:
        """Send what has been left, and wait for room: what comes next may not be left."""
        outgoing, self.outgoing = self.outgoing, None
        if outgoing is not None:
            outgoing.send_all()


class LeavingResponse(Response):
    """Stands where gunicorn makes its responses, in the thread worker's process."""

    wire_class = LeavingWire

    _wire: LeavingWire
    chunked: bool

    @property
    def outgoing(self) -> Outgoing | None:
        """What is left to be sent."""
        return self._wire.outgoing

    def write_file(self, respiter: Any) -> None:
        """Write a body that is a file."""
        if not self._leave_file(respiter.filelike):
            super().write_file(respiter)

    def _leave_file(self, file: Any) -> bool:
        """Send a file that is as long as the head says; tell whether it is one."""
        wire = self._wire
        if self.headers_sent or self.req.method == "HEAD" or not wire.can_leave:
            return False
        try:
            number, offset = file.fileno(), file.tell()
            status = os.fstat(number)
        except (AttributeError, OSError, ValueError):
            return False
        size = status.st_size - offset
        length = self.response_length
        if not stat.S_ISREG(status.st_mode) or not 0 < (length or size) <= size:
            return False
        try:
            copy = os.dup(number)
        except OSError:  # the process has no descriptor left; gunicorn needs none
            return False
        wire.may_leave = True
        try:
            self.send_headers()
            # What gunicorn's own response would write of it: one chunk, if it is chunked.
            wire.sendall(b"%X\r\n" % size if self.chunked else b"")
        except BaseException:
            os.close(copy)
            raise
        by_kernel = not self.cfg.is_ssl and self.can_sendfile()
        wire.leave_file(copy, offset, length or size, by_kernel=by_kernel)
        if self.chunked:
            wire.sendall(b"\r\n")
        return True


def rest_of(life: Life) -> Outgoing | None:
    """Return what is left to be sent of the response in hand; None if nothing is."""
    response = getattr(life.exchange, "response", None)
    return response.outgoing if isinstance(response, LeavingResponse) else None
