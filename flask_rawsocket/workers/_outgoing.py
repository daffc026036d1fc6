"""`Outgoing`: what is left of a response that is complete, and for which its socket has no room.

No thread waits for a client that reads slowly: what is left is sent when there is room, by the
thread that is told so.
"""

from __future__ import annotations

import os
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from .._sockets.rates import ResponseWait
from .._sockets.ticking import RECORD
from ._readiness import READING, WRITING

if TYPE_CHECKING:
    from .._sockets.duties import Duties

__all__ = ["Outgoing"]

_os: Any = os
"""Not every system has what is asked of it here."""

_TURN: Final = 1048576
"""The bytes that are sent before it is another connection's turn."""

_FILE_PIECE: Final = 65536
"""How much of a file is read at once, where the kernel cannot send it itself."""


class Outgoing:
    """The rest of one response.

    Args:
        sock: the connection's, tracked, with duties.
    """

    __slots__ = ("_began", "_duties", "_pieces", "_sock", "_wait", "size")

    def __init__(self, sock: Any) -> None:
        self._duties: Duties = sock.duties
        self._sock = sock
        self._pieces: deque[_Piece] = deque()
        # A record that is written in part is on its way, and OpenSSL does not say how much of it.
        unseen = RECORD if isinstance(sock, ssl.SSLSocket) else 0
        self._wait = ResponseWait(sock, self._duties, unseen)
        self._began = time.monotonic()
        self.size = 0
        """The bytes of it that are held in memory."""

    def put(self, data: bytes | memoryview) -> None:
        """Add bytes, which are not copied."""
        self._pieces.append(_Bytes(data))
        self.size += len(data)

    def put_file(self, file: int, offset: int, count: int, *, by_kernel: bool) -> None:
        """Add a part of a file.

        Args:
            file: its descriptor, which is closed when it is not needed any more.
            offset: where the part begins, in bytes.
            count: how many bytes it has.
            by_kernel: whether sendfile(2) can send it: not under TLS.
        """
        self._pieces.append(_File(file, offset, count, by_kernel=by_kernel))

    def flush(self) -> str | None:
        """Send what there is room for, but leave others their turn.

        Returns:
            What to wait for, `WRITING` or `READING`; None if all is sent.

        Raises:
            OSError: the peer is gone, the connection has been aborted, or a file is shorter than
                it was.
        """
        sent = 0
        if self._duties.is_aborted:
            self._duties.write_left()
        while self._pieces and sent < _TURN:
            piece = self._pieces[0]
            try:
                count = piece.send(self._sock)
            except (BlockingIOError, ssl.SSLWantWriteError):
                return WRITING
            except ssl.SSLWantReadError:
                return READING
            self._waited()
            self._wait.sent(count)
            sent += count
            self.size -= piece.release(count)
            if not piece.left:
                self._pieces.popleft()
                piece.drop()
        return WRITING if self._pieces else None

    def send_all(self) -> None:
        """Send it, and wait for room.

        Raises:
            OSError: as ``socket.sendall`` does, and where the peer reads too slowly.
        """
        while self._pieces:
            self._pieces.popleft().send_all(self._sock)
        self.size = 0

    def is_too_slow(self) -> bool:
        """Tell whether the peer reads too slowly."""
        self._waited()
        return not self._duties.is_aborted and self._wait.left() <= 0

    def drop(self) -> None:
        """Forget what is left."""
        while self._pieces:
            self._pieces.popleft().drop()
        self.size = 0

    def _waited(self) -> None:
        now = time.monotonic()
        self._wait.waited(now - self._began)
        self._began = now


class _Piece(Protocol):
    """A part of a response."""

    left: int
    """How many bytes of it have not been sent."""

    def send(self, sock: Any) -> int:
        """Send what there is room for, and return how much that is."""

    def send_all(self, sock: Any) -> None:
        """Send it, and wait for room."""

    def release(self, count: int) -> int:
        """So much has been sent: return how much memory that sets free."""

    def drop(self) -> None:
        """It is not needed any more."""


class _Bytes:
    """Bytes."""

    __slots__ = ("_data", "left")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self.left = len(data)

    def send(self, sock: Any) -> int:
        count: int = sock.send_at_once(self._data)
        self._data = self._data[count:]
        self.left -= count
        return count

    def send_all(self, sock: Any) -> None:
        sock.sendall(self._data)
        self.drop()

    def release(self, count: int) -> int:
        return count

    def drop(self) -> None:
        self._data.release()


class _File:
    """A part of a file."""

    __slots__ = ("_by_kernel", "_file", "_offset", "left")

    def __init__(self, file: int, offset: int, count: int, *, by_kernel: bool) -> None:
        self._file = file
        self._offset = offset
        self._by_kernel = by_kernel
        self.left = count

    def send(self, sock: Any) -> int:
        if self._by_kernel:
            count = _send_file(sock, *self._next(_TURN))
        else:
            file, offset, size = self._next(_FILE_PIECE)
            data = _os.pread(file, size, offset)
            count = sock.send_at_once(data) if data else 0
        self._sent(count)
        return count

    def _sent(self, count: int) -> None:
        if not count:
            raise OSError("a file has become shorter while it was sent")
        self._offset += count
        self.left -= count

    def _next(self, most: int) -> tuple[int, int, int]:
        return self._file, self._offset, min(self.left, most)

    def send_all(self, sock: Any) -> None:
        while self.left:
            file, offset, size = self._next(_FILE_PIECE)
            data = _os.pread(file, size, offset)
            sock.sendall(data)
            self._sent(len(data))
        self.drop()

    def release(self, _count: int) -> int:
        return 0

    def drop(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    __del__ = drop


def _send_file(sock: Any, file: int, offset: int, count: int) -> int:
    before = sock.gettimeout()
    sock.settimeout(0)  # the call has no flag for it
    try:
        return int(_os.sendfile(sock.fileno(), file, offset, count))
    finally:
        if sock.fileno() >= 0:
            sock.settimeout(before)
