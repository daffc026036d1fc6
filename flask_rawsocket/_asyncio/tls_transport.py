"""`TLSTransport`: an asyncio transport over an ``ssl.SSLSocket`` whose handshake is done.

asyncio shakes hands itself and takes no such socket; and the state of a TLS session cannot be moved
to an object of asyncio's. So this one reads and writes the socket itself, without blocking, when
the loop says that it can. To protocols it behaves as asyncio's own, but for one thing: after the
peer's close_notify it can still be written to, where ``eof_received`` asks for that.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from asyncio.constants import _SendfileMode
from asyncio.transports import _FlowControlMixin
from asyncio.trsock import TransportSocket
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["TLSTransport"]

_READ_SIZE: Final = 65536
_TURN: Final = 16
"""Reads, or writes, before the loop's other connections have their turn."""

_WRITE_SIZE: Final = 65536
"""Bytes that OpenSSL is given at a time.

It takes all of them or none, and must be given the same ones again when it could not send them.
"""

_WOULD_BLOCK: Final = (
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
    BlockingIOError,
    InterruptedError,
)


class TLSTransport(_FlowControlMixin):
    """Reads and writes an established TLS socket for a protocol.

    The flow control is asyncio's own, private as its class is: without it ``loop.sendfile`` takes
    no transport.

    Args:
        loop: the running loop.
        sock: the socket, in non-blocking mode.
        protocol: whose data it is.
        submit: runs the close, and with it the CLOSED hooks, in another thread.

    Raises:
        RuntimeError: the loop has a transport of that descriptor already.
    """

    _sendfile_compatible = _SendfileMode.FALLBACK

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: ssl.SSLSocket,
        protocol: asyncio.Protocol,
        submit: Callable[[Callable[[], object]], object],
    ) -> None:
        super().__init__(_facts(sock), loop)
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._protocol: Any = protocol
        self._submit = submit
        self._to_send = bytearray()
        self._paused = False
        self._at_eof = False
        self._closing = False
        self._ended = False
        # A read may have to write first, and a write to read: when keys change.
        self._read_wants_write = False
        self._write_wants_read = False
        self._watching_reads = False
        self._watching_writes = False
        _send_at_once(sock)
        self._watch()
        loop.call_soon(protocol.connection_made, self)
        # Bytes that OpenSSL has decrypted already make no descriptor readable.
        loop.call_soon(self._on_readable)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol have the data from here on."""
        self._protocol = protocol

    def is_closing(self) -> bool:
        """Tell whether the transport has been closed or is about to be."""
        return self._closing

    def is_reading(self) -> bool:
        """Tell whether data is passed to the protocol as it comes."""
        return not (self._paused or self._at_eof or self._closing)

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._paused = True
        self._watch()

    def resume_reading(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            self._watch()
            self._loop.call_soon(self._on_readable)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return len(self._to_send)

    def can_write_eof(self) -> bool:
        """Tell that TLS has no half-close that peers understand."""
        return False

    def write(self, data: Any) -> None:
        """Send `data`, now or when the socket takes it."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data must be bytes-like, not {type(data).__name__}")
        if self._closing or not data:
            return
        waiting = bool(self._to_send)
        self._to_send += data
        if not waiting:
            self._flush()
        self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close when what is waiting has been sent."""
        if self._closing:
            return
        self._closing = True
        self._watch()
        if not self._to_send:
            self._end(None)

    def abort(self) -> None:
        """Close at once; what is waiting is dropped."""
        self._end(None)

    def _watch(self) -> None:
        """Have the loop call us for what the next read and the next write wait for, no more."""
        to_send = bool(self._to_send)
        reading = self.is_reading() and not self._read_wants_write
        reads = reading or (to_send and self._write_wants_read)
        writes = (to_send and not self._write_wants_read) or self._read_wants_write
        if self._ended:
            reads = writes = False
        if reads and not self._watching_reads:
            self._loop.add_reader(self._fd, self._on_readable)
        elif self._watching_reads and not reads:
            self._loop.remove_reader(self._fd)
        self._watching_reads = reads
        if writes and not self._watching_writes:
            self._loop.add_writer(self._fd, self._on_writable)
        elif self._watching_writes and not writes:
            self._loop.remove_writer(self._fd)
        self._watching_writes = writes

    def _on_readable(self) -> None:
        self._receive()
        if self._write_wants_read and not self._ended:  # what it wants may have come just now
            self._flush()

    def _on_writable(self) -> None:
        self._flush()
        if self._read_wants_write:
            self._receive()

    def _receive(self) -> None:
        """Pass on what OpenSSL has: what is left in it makes nothing readable."""
        for _ in range(_TURN):
            data = self._read() if self.is_reading() else None
            if data is None:
                return
            if not data:
                self._on_eof()
                return
            self._call("data_received", data)
        self._loop.call_soon(self._on_readable)

    def _read(self) -> bytes | None:
        """Return what can be read; None where there is nothing yet, or the connection has ended."""
        wanted_write, self._read_wants_write = self._read_wants_write, False
        try:
            return self._sock.recv(_READ_SIZE)
        except ssl.SSLWantWriteError:
            self._read_wants_write = True
        except _WOULD_BLOCK:
            pass
        except Exception as exc:  # noqa: BLE001  it is handed on
            self._fail(exc, "Fatal read error on TLS transport")
        finally:
            if wanted_write is not self._read_wants_write:
                self._watch()
        return None

    def _on_eof(self) -> None:
        self._at_eof = True
        self._watch()
        if not self._call("eof_received"):
            self.close()

    def _flush(self) -> None:
        """Send what is waiting, as much as the socket takes."""
        self._write_wants_read = False
        try:
            for _ in range(_TURN):
                if self._to_send:
                    sent = self._sock.send(self._to_send[:_WRITE_SIZE])
                    del self._to_send[:sent]
        except ssl.SSLWantReadError:
            self._write_wants_read = True
        except _WOULD_BLOCK:
            pass
        except Exception as exc:  # noqa: BLE001  it is handed on
            self._fail(exc, "Fatal write error on TLS transport")
            return
        self._watch()
        self._maybe_resume_protocol()  # type: ignore[attr-defined]
        if self._closing and not self._to_send:
            self._end(None)

    def _call(self, method: str, *args: Any) -> Any:
        """Call the protocol; a failure of its own ends the connection, as in asyncio."""
        try:
            return getattr(self._protocol, method)(*args)
        except Exception as exc:  # noqa: BLE001  it is handed on
            self._fail(exc, f"Fatal error: protocol.{method}() call failed.")
            return True

    def _fail(self, exc: BaseException, message: str) -> None:
        if not isinstance(exc, OSError):
            context = {"message": message, "exception": exc}
            self._loop.call_exception_handler(
                {**context, "transport": self, "protocol": self._protocol}
            )
        self._end(exc)

    def _end(self, exc: BaseException | None) -> None:
        if self._ended:
            return
        self._ended = self._closing = True
        self._to_send.clear()
        self._watch()
        self._loop.call_soon(self._lose, exc)

    def _lose(self, exc: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._protocol = None  # which refers to this, by its reader
            self._say_goodbye()
            self._submit(self._close)

    def _say_goodbye(self) -> None:
        """Send close_notify and FIN; nobody waits for the peer's: the socket does not block."""
        goodbye: Callable[[], object] = getattr(self._sock, "say_goodbye", self._sock.unwrap)
        with contextlib.suppress(OSError, ValueError):
            goodbye()

    def _close(self) -> None:
        """In another thread: close the descriptor; the CLOSED hooks run here."""
        end: Callable[[], None] = getattr(self._sock, "end", self._sock.close)
        end()


def _facts(sock: ssl.SSLSocket) -> dict[str, Any]:
    """Return what asyncio's own TLS transports know by ``get_extra_info``."""
    peername = None
    with contextlib.suppress(OSError):  # a peer that has gone already
        peername = sock.getpeername()
    return {
        "socket": TransportSocket(sock),
        "sockname": sock.getsockname(),
        "peername": peername,
        "sslcontext": sock.context,
        "ssl_object": sock,
        "peercert": sock.getpeercert(),
        "cipher": sock.cipher(),
        "compression": sock.compression(),
    }


def _send_at_once(sock: socket.socket) -> None:
    """Let small writes not wait for an acknowledgement, as asyncio's own transports do."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
