"""A request's body as the development server reads it, and the file that it comes from."""

from __future__ import annotations

import contextlib
from typing import IO, TYPE_CHECKING, Any, Final

from werkzeug.serving import DechunkedInput
from werkzeug.wsgi import LimitedStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

__all__ = ["ChunkedBody", "RequestBody", "RequestFile"]

_CHUNK: Final = 65536


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
        return bool(data)


class RequestBody(LimitedStream):
    """A request's body of known length.

    A deadline is not taken for a disconnect, and nothing is lost in a read that fails at one.
    """

    def readall(self) -> bytes:
        data = bytearray()
        with self._put_back_when_late(data):
            while more := self.read(_CHUNK):
                data += more
        return bytes(data)

    def readline(self, size: int | None = -1, /) -> bytes:
        data = bytearray()
        with self._put_back_when_late(data):
            while not data.endswith(b"\n") and len(data) != size and (more := self.read(1)):
                data += more
        return bytes(data)

    @contextlib.contextmanager
    def _put_back_when_late(self, data: bytearray) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            self._pos -= len(data)
            self._stream.put_back(data)  # type: ignore[attr-defined]
            raise

    def on_disconnect(self, error: Exception | None = None) -> Any:
        if isinstance(error, TimeoutError):
            raise error
        return super().on_disconnect(error)


class ChunkedBody(DechunkedInput):
    """A chunked body, which knows whether it has been read in part."""

    _begun = _ended = False

    @property
    def is_read_in_part(self) -> bool:
        """Whether a part of it has been read, and a part has not."""
        return self._begun and not self._ended

    def readinto(self, buf: Any) -> int:
        self._begun = True
        count = super().readinto(buf)
        self._ended = count < len(buf)
        return count
