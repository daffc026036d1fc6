"""A request's body as the development server reads it."""

from __future__ import annotations

import contextlib
import re
import time
from typing import IO, TYPE_CHECKING, Any, Final, cast

from werkzeug.exceptions import BadRequest, ClientDisconnected
from werkzeug.serving import DechunkedInput
from werkzeug.wsgi import LimitedStream

from .._sockets.deadlines import READ, ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._sockets.request_file import RequestFile

__all__ = ["ChunkedBody", "Leftovers", "RequestBody"]

_CHUNK: Final = 65536
"""How much is read at once, and how long a line of a chunked body, or its trailers, may be."""

_CHUNK_SIZE: Final = re.compile(rb"[0-9A-Fa-f]+")
_EMPTY_LINES: Final = (b"\r\n", b"\n")

_DRAIN_PAUSE: Final = 0.01
"""The seconds for which a client that sends what nobody reads may pause; Werkzeug's own number."""

_DRAIN_TIMEOUT: Final = 5.0
"""And those that it has in all."""


class RequestBody(LimitedStream):
    """A request's body of known length.

    A deadline is not taken for a disconnect, and nothing is lost in a read that fails.
    """

    def readall(self) -> bytes:
        data = bytearray()
        with self._put_back_if_failed(data):
            while more := self.read(_CHUNK):
                data += more
        return bytes(data)

    def readline(self, size: int | None = -1, /) -> bytes:
        data = bytearray()
        with self._put_back_if_failed(data):
            while not data.endswith(b"\n") and len(data) != size and (more := self.read(1)):
                data += more
        return bytes(data)

    @contextlib.contextmanager
    def _put_back_if_failed(self, data: bytearray) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._pos -= len(data)
            self._stream.put_back(data)  # type: ignore[attr-defined]
            raise

    def on_disconnect(self, error: Exception | None = None) -> Any:
        if isinstance(error, TimeoutError):
            raise error
        return super().on_disconnect(error)


class ChunkedBody(DechunkedInput):
    """A chunked body, which knows whether it has been read in part.

    Werkzeug's knows neither chunk extensions nor trailers (RFC 9112, sections 7.1.1 and 7.1.2), and
    takes the client's mistakes for the application's.
    """

    _begun = _ended = False

    def __init__(self, file: RequestFile) -> None:
        super().__init__(cast("IO[bytes]", _UnlessCut(file)))
        self._file = file

    @property
    def is_read_in_part(self) -> bool:
        """Whether a part of it has been read, and a part has not."""
        return self._begun and not self._ended

    def readinto(self, buf: Any) -> int:
        self._begun = True
        try:
            count = super().readinto(buf)
        except OSError as exc:
            if exc.errno is None and type(exc) is OSError:  # Werkzeug's for what is no chunk
                raise BadRequest(str(exc)) from None
            raise
        self._ended = count < len(buf)
        return count

    def read_chunk_len(self) -> int:
        """Return a chunk's length; drop its extensions and, behind the last one, the trailers."""
        size = self._rfile.readline(_CHUNK).partition(b";")[0].strip(b" \t\r\n")
        if not _CHUNK_SIZE.fullmatch(size):
            raise BadRequest("Invalid chunk header")
        length = int(size, 16)
        if not length:
            left = _CHUNK
            while (line := self._rfile.readline(left)) not in _EMPTY_LINES:
                left -= len(line)
                if left <= 0:
                    raise BadRequest("Trailers too large")
            self._file.put_back(line)  # it ends the body, and Werkzeug looks for it
        return length


class _UnlessCut:
    """What a chunked body is read from: a read that finds the end of the stream fails."""

    def __init__(self, file: RequestFile) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise ClientDisconnected
        return data

    def readline(self, limit: int = _CHUNK) -> bytes:
        line = self._file.readline(limit)
        if not line.endswith(b"\n") and len(line) < limit:
            raise ClientDisconnected
        return line


class Leftovers:
    """Stands where Werkzeug has the request's file while the application runs.

    When the response is out Werkzeug reads, and throws away, what the client has sent that nobody
    has read, so that a close does not reset the connection. It reads until the client has closed,
    which may be never. This ends where there is nothing more to be had at the moment.

    Args:
        sock: the tracked socket.
        file: what the application's body is read from.
    """

    def __init__(self, sock: Any, file: RequestFile) -> None:
        self._sock = sock
        self._file = file
        self._until: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        """Return what there is, at most `size` bytes if that is not negative."""
        if self._until is None:
            self._until = time.monotonic() + _DRAIN_TIMEOUT
        data = self._file.take()
        with contextlib.suppress(OSError, ValueError):  # nothing there, or nobody
            while not 0 <= size <= len(data) and time.monotonic() < self._until:
                more = self._at_once() if ready(self._sock, READ, _DRAIN_PAUSE) else b""
                if not more:
                    break
                data += more
        return data

    def _at_once(self) -> bytes:
        """Read without waiting, for the rest of a TLS record for instance."""
        timeout = self._sock.gettimeout()
        self._sock.settimeout(0)
        try:
            data: bytes = self._sock.recv(_CHUNK)
        finally:
            self._sock.settimeout(timeout)
        return data
