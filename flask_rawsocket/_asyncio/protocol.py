"""`StreamProtocol`: what feeds the streams of a connection on the event loop.

Its transport is the one that has the socket.  A handler that calls ``writer.start_tls()`` puts
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

__all__ = ["StreamProtocol"]


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

    def __init__(self, reader: asyncio.StreamReader, connection: Connection) -> None:
        # With a callback, as `asyncio.start_server` has one: by that, and by nothing else, a
        # writer's start_tls() knows that it is the server's end.
        super().__init__(reader, self._connected)
        self._connection = connection

    def _connected(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make the writer."""
        self._below = transport
        super().connection_made(transport)

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
        self._settle(CloseReason.APP if self.writer.is_closing() else CloseReason.CLIENT)
        return False

    def close(self) -> None:
        """Close the writer, for the handler has ended."""
        if self.writer.is_closing():
            return
        if self._is_over_asyncios_tls():
            # It waits for the peer's close_notify: in the end it would look like the peer's doing.
            self._settle(CloseReason.APP)
        self.writer.close()

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
        """Give the protocol of what has the socket: this one, asyncio's TLS, or a handler's own."""
        return self._below and self._below.get_protocol()
