"""`TLSTransport`: an asyncio transport over an ``ssl.SSLSocket`` whose handshake is done.

asyncio shakes hands itself and takes no such socket; and the state of a TLS session cannot be moved
to an object of asyncio's.  So this one reads and writes the socket itself, without blocking, when
the loop says that it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TLSTransport"]

_READ_SIZE = 65536
_HIGH_WATER = 65536
"""Bytes that may wait to be sent before the protocol is asked to pause, as in asyncio."""

_WOULD_BLOCK = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)


class TLSTransport(asyncio.Transport):
    """Reads and writes an established TLS socket for a protocol.

    Args:
        loop: the running loop.
        sock: the socket, in non-blocking mode.
        protocol: whose data it is.
        submit: runs the close, and with it the CLOSED hooks, in another thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: ssl.SSLSocket,
        protocol: asyncio.Protocol,
        submit: Callable[..., object],
    ) -> None:
        super().__init__({"socket": sock, "ssl_object": sock, "cipher": sock.cipher()})
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._protocol: Any = protocol
        self._submit = submit
        self._to_send = bytearray()
        self._closing = False
        self._ended = False
        self._reading = False
        self._protocol_paused = False
        loop.call_soon(protocol.connection_made, self)
        self.resume_reading()

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the protocol."""
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
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Read no more for now."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Read on."""
        if not self._closing and not self._reading:
            self._reading = True
            self._loop.add_reader(self._fd, self._on_readable)
            # Bytes that OpenSSL has decrypted already make no descriptor readable.
            self._loop.call_soon(self._on_readable)

    def get_write_buffer_size(self) -> int:
        """Give how many bytes wait to be sent."""
        return len(self._to_send)

    def can_write_eof(self) -> bool:
        """Tell that TLS has no half-close that peers understand."""
        return False

    def write(self, data: Any) -> None:
        """Send `data`, now or when the socket takes it."""
        if self._closing or not data:
            return
        waiting = bool(self._to_send)
        self._to_send += data
        if not waiting:
            self._on_writable()
        if len(self._to_send) > _HIGH_WATER and not self._protocol_paused:
            self._protocol_paused = True
            self._protocol.pause_writing()

    def close(self) -> None:
        """Close when what is waiting has been sent."""
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._fd)
        if not self._to_send:
            self._end(None)

    def abort(self) -> None:
        """Close at once; what is waiting is dropped."""
        self._to_send.clear()
        self._closing = True
        self._end(None)

    def _on_readable(self) -> None:
        """Pass on everything that OpenSSL has: what is left in it makes nothing readable."""
        while self._reading and not self._closing:
            try:
                data = self._sock.recv(_READ_SIZE)
            except _WOULD_BLOCK:
                return
            except OSError as exc:
                self._end(exc)
                return
            if not data:
                self._loop.remove_reader(self._fd)
                self._reading = False
                if not self._protocol.eof_received():
                    self.close()
                return
            self._protocol.data_received(data)

    def _on_writable(self) -> None:
        try:
            while self._to_send:
                sent = self._sock.send(self._to_send)
                del self._to_send[:sent]
        except _WOULD_BLOCK:
            self._loop.add_writer(self._fd, self._on_writable)
            return
        except OSError as exc:
            self._end(exc)
            return
        self._loop.remove_writer(self._fd)
        if self._protocol_paused:
            self._protocol_paused = False
            self._protocol.resume_writing()
        if self._closing:
            self._end(None)

    def _end(self, exc: OSError | None) -> None:
        if self._ended:
            return
        self._ended = self._closing = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._to_send.clear()
        self._loop.call_soon(self._protocol.connection_lost, exc)
        self._submit(self._finish)

    def _finish(self) -> None:
        """In another thread: say goodbye, and close; the CLOSED hooks run here."""
        with contextlib.suppress(OSError, ValueError):
            self._sock.unwrap()
        end: Callable[[], None] = getattr(self._sock, "end", self._sock.close)
        end()
