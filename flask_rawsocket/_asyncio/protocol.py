"""`StreamProtocol`: what feeds the streams of a connection on the event loop.

Its transport is the one that has the socket. A handler that calls ``writer.start_tls()`` puts
asyncio's own TLS between the two; what that does not know, or cannot do, is made up for here.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING, Any

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason

if TYPE_CHECKING:
    from .._connection.connection import Connection

__all__ = ["StreamProtocol", "StreamReader"]


class StreamReader(asyncio.StreamReader):
    """A reader that can let go of what has come and was not read."""

    def take(self) -> bytes:
        """Return that, and forget it."""
        buffer: bytearray = self._buffer  # type: ignore[attr-defined]
        taken = bytes(buffer)
        buffer.clear()
        self._maybe_resume_transport()  # type: ignore[attr-defined]
        return taken


class _StreamWriter(asyncio.StreamWriter):
    """A writer whose `start_tls` does not lose what the peer has sent ahead."""

    _protocol: StreamProtocol

    async def start_tls(self, *args: Any, **kwargs: Any) -> None:
        """Put TLS on the connection, as `asyncio.StreamWriter.start_tls` does.

        A peer that does not wait for our word has sent its ClientHello already (cpython#142352).
        Nothing of that is read in the clear any more: what somebody may have put between the two
        is not taken for the peer's own.
        """
        await self.drain()  # what follows does not wait then until the layer is there
        loop = asyncio.get_running_loop()
        # The layer is told of its transport, and reading is resumed, at the loop's next turn; and
        # before anything can be read, at the one after that, it gets what was read before.
        loop.call_soon(loop.call_soon, self._protocol.hand_over)
        await super().start_tls(*args, **kwargs)


class StreamProtocol(asyncio.StreamReaderProtocol):
    """Feeds the streams as asyncio's own does.

    Args:
        reader: what is fed.
        connection: whose data it is.

    Attributes:
        writer: the writer, once the protocol has been told of its transport.
    """

    writer: asyncio.StreamWriter
    _below: Any = None
    """What has the socket."""
    _lost = False
    _reason: Exception | None = None

    def __init__(self, reader: StreamReader, connection: Connection) -> None:
        # Without a callback: with one it would make a writer of its own, too.
        super().__init__(reader)
        # asyncio's is a deque, which takes as much memory as all of this and mostly stays empty.
        self._drain_waiters: list[asyncio.Future[None]] = []
        self._connection = connection
        self._reader = reader

    def hand_over(self) -> None:
        """Pass asyncio's TLS, which is on top of the connection now, what the reader has read."""
        layer = self._protocol_below()
        if not isinstance(layer, SSLProtocol):
            return  # it could not begin, which the handler is told
        data: Any = memoryview(self._reader.take())
        while data:
            room: Any = layer.get_buffer(len(data))
            count = min(len(room), len(data))
            room[:count] = data[:count]
            layer.buffer_updated(count)
            data = data[count:]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make the writer."""
        self._below = transport
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        writer_transport: Any = transport
        self.writer = _StreamWriter(writer_transport, self, self._reader, loop)
        # As `asyncio.start_server` has one: by that, and by nothing else, a writer's start_tls()
        # knows that it is the server's end.
        self._client_connected_cb = _is_servers_end

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the streams; and remember it, for `has_ended_by`."""
        self._lost, self._reason = True, exc
        super().connection_lost(exc)

    def eof_received(self) -> bool:
        """Keep the transport open, under our TLS too: the peer has ended its own half.

        asyncio's own TLS ends here whatever we say.
        """
        super().eof_received()
        if not self._is_over_asyncios_tls():
            return True
        # A close_notify may come without a FIN: the kernel would still call the connection open.
        by_us = self.writer.is_closing()
        self._settle(CloseReason.APP_CLOSED if by_us else CloseReason.PEER_CLOSED)
        return False

    def close(self) -> None:
        """Close the writer, for the handler has ended."""
        if self.writer.is_closing():
            return
        if self._is_over_asyncios_tls():
            # It waits for the peer's close_notify: in the end it would look like the peer's doing.
            self._settle(CloseReason.APP_CLOSED)
        self.writer.close()

    def let_go(self) -> None:
        """Forget the writer and the transport: the handler has ended, and they refer to this."""
        self._below = None
        del self.writer

    def _settle(self, reason: CloseReason) -> None:
        ending.assume(life_of(self._connection), reason)

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return self._lost

    @property
    def starts_tls(self) -> bool:
        """Whether the handler is waiting for a ``start_tls()``."""
        return self._is_over_asyncios_tls() and self.writer.transport is self._below

    def end_handshake(self) -> None:
        """Abort the connection while TLS is being started, as if the peer had left.

        Were only the transport aborted, asyncio would give the writer None in its place.
        """
        if self.starts_tls:
            self._below.get_protocol().eof_received()
        self._below.abort()

    def has_ended_by(self, exc: BaseException) -> bool:
        """Tell whether `exc`, which the handler let out, says only that the connection has ended.

        A handshake that has failed is the peer's doing, too.
        """
        by_streams = isinstance(exc, OSError) and exc is self._reason
        if self._lost and (by_streams or isinstance(exc, ConnectionError)):
            return True
        by_peer = isinstance(exc, ConnectionError | ssl.SSLError)
        return by_peer and self._has_failed_to_start_tls()

    def _has_failed_to_start_tls(self) -> bool:
        has_started = self._protocol_below() is self or self.writer.transport is not self._below
        return bool(self._below.is_closing()) and not has_started

    def _is_over_asyncios_tls(self) -> bool:
        return isinstance(self._protocol_below(), SSLProtocol)

    def _protocol_below(self) -> object:
        """Return the protocol below: this one, asyncio's TLS, or a handler's own."""
        return self._below and self._below.get_protocol()


def _is_servers_end(*_streams: object) -> None:
    """Stand for what `asyncio.start_server` is given; nobody calls it."""
