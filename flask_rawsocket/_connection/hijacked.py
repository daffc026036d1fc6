"""`HijackedSocket`: a connection that its server has let go of.

Two rules: the bytes that the server had read ahead come out before the socket's own, once and in
order; and what an ``OSError`` means to the owner is decided in `translate` and nowhere else.
"""

from __future__ import annotations

import errno
import io
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import ConnectionBrokenError, ConnectionClosedError, UnsupportedError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["HijackedSocket", "translate"]

_Got = TypeVar("_Got", bytes, int)

_NOTHING: Final = memoryview(b"")


class HijackedSocket:
    """A connection hijacked from its server: yours to read, to write and to close.

    The server does nothing more with it: no status line, no close, no poll. Close it; that is when
    the connection becomes CLOSED. ``with stream:`` does.

    Reading takes one reader at a time. A method raises ``TimeoutError`` where `settimeout` says
    so, `ConnectionClosedError` once the socket has been closed on our side, and
    `ConnectionBrokenError` when the peer or the system has ended the connection.

    Attributes:
        sock: the real socket, a ``socket.socket`` or under TLS an ``ssl.SSLSocket``, for
            selectors, asyncio and protocol libraries. Feed those `leading_bytes` first.
        leading_bytes: what the server had read ahead: the unread part of the request's body, a
            pipelined request, or the first bytes of the new protocol.
    """

    __slots__ = ("__weakref__", "_rest", "_translated", "leading_bytes", "sock")

    def __init__(self, sock: socket.socket, leading_bytes: bytes) -> None:
        self.sock = sock
        self.leading_bytes = leading_bytes
        self._rest = memoryview(leading_bytes) if leading_bytes else _NOTHING
        """What is read before the socket: the unread part of `leading_bytes`, or what a read that
        failed midway has put back."""
        self._translated = _Translation(sock)

    def __repr__(self) -> str:
        state = "closed" if self.sock.fileno() < 0 else f"fd {self.sock.fileno()}"
        return f"<HijackedSocket {state}, {len(self._rest)} leading bytes to read>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor; -1 once it is closed.

        A selector does not see what is `pending`: read that first.
        """
        return self.sock.fileno()

    def pending(self) -> int:
        """Return how many bytes can be read without waiting, beyond what the kernel has.

        Those are the rest of `leading_bytes`, and what TLS has decrypted. No selector sees them:
        wait in one only where this is 0.
        """
        sock = self.sock
        return len(self._rest) + (sock.pending() if isinstance(sock, ssl.SSLSocket) else 0)

    def recv(self, bufsize: int) -> bytes:
        """Read at most `bufsize` bytes; b"" when the peer has sent its last."""
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        if self._rest:
            data = bytes(self._rest[:bufsize])
            self._rest = self._rest[bufsize:]
            return data
        with self._translated:
            return self._unless_ended(self.sock.recv(bufsize))

    def recv_into(self, buffer: Buffer, nbytes: int = 0) -> int:
        """Read into `buffer`, at most `nbytes` or its length; return how many, 0 at the end."""
        if nbytes < 0:
            raise ValueError("negative buffersize in recv_into")
        view = memoryview(buffer).cast("B")
        wanted = min(nbytes or len(view), len(view))
        if self._rest:
            count = min(wanted, len(self._rest))
            view[:count] = self._rest[:count]
            self._rest = self._rest[count:]
            return count
        with self._translated:
            return self._unless_ended(self.sock.recv_into(view, wanted))

    def recv_exactly(self, count: int) -> bytes:
        """Read `count` bytes.

        What had come when it raises is not lost: the next read begins with it.

        Raises:
            ConnectionBrokenError: the peer ended the connection before it had sent that many.
        """
        data = bytearray(count)
        done = 0
        try:
            while done < count and (got := self.recv_into(memoryview(data)[done:])):
                done += got
        finally:
            if done < count:
                self._put_back(data[:done])
        if done < count:
            raise ConnectionBrokenError(f"the peer sent {done} of {count} bytes")
        return bytes(data)

    def send(self, data: Buffer) -> int:
        """Write some of `data`; return how many bytes were taken."""
        with self._translated:
            return self.sock.send(data)

    def sendall(self, data: Buffer) -> None:
        """Write all of `data`."""
        with self._translated:
            self.sock.sendall(data)

    def makefile(self, mode: str = "r", buffering: int | None = None, **text: Any) -> Any:
        """Return a file over the stream, leading bytes included, as ``socket.makefile`` does.

        Closing the file does not close the connection. As there, a file whose read has timed out
        may have lost bytes, and is not read any more.

        Args:
            mode: of ``r``, ``w`` and ``b``.
            buffering: the buffer's size in bytes; 0 for none, with ``b`` only.
            text: ``encoding``, ``errors`` and ``newline``, without ``b``.

        Raises:
            ValueError: `mode` has other letters, or text is to be unbuffered.
        """
        if not set(mode) <= set("rwb"):
            raise ValueError(f"invalid mode {mode!r} (only r, w and b)")
        reading, writing, binary = "r" in mode or "w" not in mode, "w" in mode, "b" in mode
        raw = _RawStream(self, "r" * reading + "w" * writing)  # type: ignore[arg-type]
        if buffering == 0:
            if not binary:
                raise ValueError("unbuffered streams must be binary")
            return raw
        size = buffering if buffering is not None and buffering > 0 else io.DEFAULT_BUFFER_SIZE
        buffered: Any
        if reading and writing:
            buffered = io.BufferedRWPair(raw, raw, size)
        else:
            buffered = io.BufferedReader(raw, size) if reading else io.BufferedWriter(raw, size)
        return buffered if binary else io.TextIOWrapper(buffered, **text)

    def settimeout(self, seconds: float | None) -> None:
        """Let reads and writes wait at most so many seconds; None for as long as it takes."""
        with self._translated:
            self.sock.settimeout(seconds)

    def shutdown(self, how: int) -> None:
        """Shut down one or both halves, as ``socket.shutdown`` does.

        Args:
            how: ``socket.SHUT_RD``, ``SHUT_WR`` or ``SHUT_RDWR``.

        Raises:
            UnsupportedError: the sending half alone, under TLS.
        """
        if not isinstance(self.sock, ssl.SSLSocket):
            with self._translated:
                self.sock.shutdown(how)
            return
        if how == socket.SHUT_WR and self.sock.fileno() >= 0:
            # A FIN without close_notify is what truncation looks like. And unwrap(), which sends
            # that, goes on to read the peer's, and fails where the peer was still sending.
            raise UnsupportedError(
                "Python's ssl cannot half-close a TLS connection; close() ends both halves"
            )
        with self._translated:
            # Not SSLSocket's own, which drops the session: what is sent next goes out in the clear.
            socket.socket.shutdown(self.sock, how)

    def close(self) -> None:
        """Close the connection; the CLOSED hooks have run when it returns."""
        self._rest = self._rest[:0]
        end = getattr(self.sock, "end", self.sock.close)
        end()

    def _unless_ended(self, got: _Got) -> _Got:
        """Return what was read, unless it is nothing because our side has ended the connection."""
        if not got and _has_ended(self.sock):
            raise _closed_here()
        return got

    def _put_back(self, data: bytearray) -> None:
        if data and self.sock.fileno() >= 0 and not _has_ended(self.sock):
            self._rest = memoryview(bytes(data) + bytes(self._rest))


class _RawStream(socket.SocketIO):
    """The raw file under `HijackedSocket.makefile`; it never closes the connection."""

    def readinto(self, buffer: Any) -> int | None:
        try:
            return super().readinto(buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def write(self, data: Any) -> int | None:
        try:
            return super().write(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def close(self) -> None:
        # SocketIO's would tell a socket that counts its files.
        io.RawIOBase.close(self)


class _Translation:
    """Says which side an ``OSError`` comes from; ``TimeoutError`` and would-block stay."""

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            return
        if isinstance(exc, OSError | ValueError) and _has_ended(self._sock):
            # ValueError: of an SSLSocket whose session has been closed during the call.
            raise _closed_here() from exc
        if isinstance(exc, OSError) and not _stays(exc):
            raise translate(exc) from exc


_AS_THEY_ARE: Final = (
    BlockingIOError,
    InterruptedError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
)


def _stays(exc: OSError) -> bool:
    if isinstance(exc, TimeoutError):
        # settimeout's has no errno; with ETIMEDOUT it is the kernel that has given the peer up.
        return exc.errno is None
    return isinstance(exc, _AS_THEY_ARE)


def _has_ended(sock: socket.socket) -> bool:
    """Tell whether our side, in some thread, has ended the connection (see ``Tracked.end``)."""
    return getattr(sock, "has_ended", False)


def _closed_here() -> ConnectionClosedError:
    return ConnectionClosedError("the connection has been closed on our side")


def translate(exc: OSError) -> Exception:
    """Return our error for what reading or writing a socket raised."""
    if exc.errno == errno.EBADF:
        return _closed_here()
    return ConnectionBrokenError(f"the connection is broken: {exc}")
