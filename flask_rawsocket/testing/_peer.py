"""`Peer`: the client's end of a connection, and what a bad client does with it."""

from __future__ import annotations

import io
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    _T = TypeVar("_T")

__all__ = ["TIMEOUT", "Peer", "PeerFile", "wait_for"]

TIMEOUT: Final = 10.0
"""Seconds that anything here may take, before a test fails rather than hang."""

_CHUNK: Final = 65536
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)
"""``struct linger``: on, zero seconds (socket(7), SO_LINGER)."""


def wait_for(
    condition: Callable[[], _T], what: str = "the condition", timeout: float = TIMEOUT
) -> _T:
    """Call `condition` until it returns something true; return that.

    Args:
        condition: what is waited for.
        what: what to call it where it does not come true.
        timeout: in seconds.

    Raises:
        AssertionError: it has not come true in time.
    """
    deadline = time.monotonic() + timeout
    pause = 0.001
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"gave up waiting for {what} after {timeout:g} seconds")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return result


class Peer:
    """The client's end of a connection: what it sends, reads, and how it misbehaves.

    A read that takes longer than 10 seconds raises ``TimeoutError``.

    Attributes:
        sock: the socket, an ``ssl.SSLSocket`` under TLS. Bytes that have been read of it with a
            response's head are not in it any more: read with `recv`.
    """

    def __init__(self, sock: socket.socket, ended: Callable[[], object] = bool) -> None:
        self.sock = sock
        self.sock.settimeout(TIMEOUT)
        self._buffer = bytearray()
        self._ended = ended
        """Called when this end has said its last, or is gone."""

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else f"fd {self.sock.fileno()}"
        return f"<Peer {state}>"

    @property
    def is_closed(self) -> bool:
        """Whether this end has been closed."""
        return self.sock.fileno() < 0

    # Bytes

    def send(self, data: Buffer) -> None:
        """Send all of `data`, as it is."""
        self.sock.sendall(data)

    def recv(self, bufsize: int = _CHUNK) -> bytes:
        """Return at most `bufsize` bytes, and wait only where there is none; b"" at the end."""
        if not self._buffer:
            return self.sock.recv(bufsize)
        data = bytes(self._buffer[:bufsize])
        del self._buffer[:bufsize]
        return data

    def recv_all(self) -> bytes:
        """Return all that comes until the server's end of the connection is closed."""
        data = bytearray()
        while more := self.recv():
            data += more
        return bytes(data)

    def readline(self, limit: int = _CHUNK) -> bytes:
        """Return the bytes to the end of a line, but at most `limit`."""
        while (end := self._buffer.find(b"\n") + 1) == 0 and len(self._buffer) < limit:
            more = self.sock.recv(_CHUNK)
            if not more:
                end = len(self._buffer)
                break
            self._buffer += more
        end = min(end or limit, limit)
        return self.recv(end) if end else b""

    def begins_with(self, start: bytes) -> bool:
        """Tell whether what has come, and has not been read, begins with `start`; do not wait."""
        self.sock.settimeout(0)
        try:
            while len(self._buffer) < len(start) and self._more():
                pass
        finally:
            self.sock.settimeout(TIMEOUT)
        return self._buffer.startswith(start)

    def _more(self) -> bool:
        """Take in what has come; tell whether there may be more."""
        try:
            data = self.sock.recv(_CHUNK)
        except OSError:  # nothing has come; or, under TLS, a ticket
            return bool(select.select([self.sock], [], [], 0)[0])
        self._buffer += data
        return bool(data)

    # Bad clients

    def leave(self) -> None:
        """Close this end without a word, as a client whose process ends does."""
        self.sock.close()
        self._ended()

    def reset(self) -> None:
        """Reset the connection; over a UNIX socket, which knows no reset, close this end."""
        if not self.is_closed:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self.leave()

    def half_close(self) -> None:
        """Send a FIN, and go on reading."""
        # The base class's: that of an SSLSocket drops its session.
        socket.socket.shutdown(self.sock, socket.SHUT_WR)
        self._ended()

    def dribble(self, data: bytes, interval: float = 0.05) -> int:
        """Send `data` byte by byte, until the server answers or ends the connection.

        Args:
            data: such as a head, or a part of one.
            interval: the seconds between two bytes.

        Returns:
            How many bytes were sent.
        """
        for count in range(len(data)):
            try:
                self.sock.sendall(data[count : count + 1])
            except OSError:
                return count
            if select.select([self.sock], [], [], interval)[0]:
                return count + 1
        return len(data)

    def stall(self) -> None:
        """Read nothing from here on, with as small a receive buffer as the system allows.

        So the server's writes soon have to wait; what the system has taken can still be read.
        """
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)


class PeerFile(io.RawIOBase):
    """What a `Peer` reads, as the file that ``http.client`` reads a response from."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._peer.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._peer.readline(size if size is not None and size >= 0 else _CHUNK)

    def read(self, size: int = -1, /) -> bytes:
        """Return `size` bytes, fewer at the end only; without a size, all."""
        data = bytearray()
        while (size < 0 or len(data) < size) and (
            more := self._peer.recv(_CHUNK if size < 0 else size - len(data))
        ):
            data += more
        return bytes(data)

    def read1(self, size: int = -1, /) -> bytes:
        return self._peer.recv(_CHUNK if size < 0 else size)
