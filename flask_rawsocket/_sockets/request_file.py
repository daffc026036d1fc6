"""`RequestFile`: the file that requests are read from, where a server reads them from a file."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket

__all__ = ["RequestFile"]

_CHUNK: Final = 65536
"""How much is read at once."""


class RequestFile:
    """The file that requests are read from.

    Unlike one of ``socket.makefile`` it loses nothing in a read that fails, past a deadline for
    instance, and can be read again; and what it has read ahead can be taken.

    Args:
        sock: where to read.
        file: one that ``sock.makefile`` made, whose being open keeps the descriptor open where the
            application closes the socket.
    """

    def __init__(self, sock: socket.socket, file: IO[bytes]) -> None:
        self._sock = sock
        self._file = file
        self._buffer = bytearray()
        self.closed = False
        self.at_end = False
        """Whether the peer has sent its last."""

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, or fewer at the end of the stream; without a size all of it."""
        self._check_open()
        while (size < 0 or len(self._buffer) < size) and self._more():
            pass
        return self._take(size if size >= 0 else len(self._buffer))

    def readinto(self, buffer: Any) -> int:
        """Read what there is into `buffer`, and wait only where there is nothing."""
        self._check_open()
        if not self._buffer:
            self._more()
        data = self._take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readline(self, limit: int = -1) -> bytes:
        """Read to the end of a line, but at most `limit` bytes."""
        self._check_open()
        searched = 0
        while (end := self._buffer.find(b"\n", searched) + 1) == 0:
            searched = len(self._buffer)
            if 0 <= limit <= searched or not self._more():
                end = searched
                break
        return self._take(end if limit < 0 else min(end, limit))

    def take(self) -> bytes:
        """Return what was read ahead; it is not here any more."""
        return self._take(len(self._buffer))

    def put_back(self, data: bytes | bytearray) -> None:
        """Let `data`, which was read last, be read again."""
        self._buffer[:0] = data

    def close(self) -> None:
        """Read no more."""
        self.closed = True
        self._file.close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("read of closed file")

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _more(self) -> bool:
        data = self._sock.recv(_CHUNK)
        self._buffer += data
        self.at_end = not data
        return bool(data)
