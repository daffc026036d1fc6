"""`ServedConnection`: a connection on the event loop, and the handler that has it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import ssl
from typing import TYPE_CHECKING, Any

from .plain_transport import PlainTransport
from .protocol import StreamProtocol, StreamReader
from .tls_transport import TLSTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.connection import Connection
    from .._connection.exchange import StreamHandler
    from .._connection.hijacked import HijackedSocket

__all__ = ["ServedConnection"]

log = logging.getLogger("flask_rawsocket")

_FLUSH_LIMIT = 5.0
"""Seconds for the peer to take what its handler has left to be sent."""


class ServedConnection:
    """A connection and its handler, on the loop; whatever is called here is called there.

    Args:
        connection: whose stream it is.
        stream: the stream.
        handler: what is to have it.
        submit: has a close made by another thread.
        forget: called when `task` is done.

    Attributes:
        connection: whose stream it is.
        task: what runs `serve`.
    """

    # There may be ten thousand of these: nothing is kept that is not needed, the stream included.
    __slots__ = (
        "_aborted",
        "_forget",
        "_handler",
        "_handling",
        "_leading_bytes",
        "_protocol",
        "_sock",
        "_submit",
        "_transport",
        "connection",
        "task",
    )

    def __init__(
        self,
        connection: Connection,
        stream: HijackedSocket,
        handler: StreamHandler,
        submit: Callable[[Callable[[], object]], object],
        forget: Callable[[Connection], object],
    ) -> None:
        self.connection = connection
        self.task: asyncio.Task[None] | None = None
        self._sock: Any = stream.sock
        self._leading_bytes = stream.leading_bytes
        self._handler = handler
        self._submit = submit
        self._forget = forget
        self._transport: asyncio.Transport | None = None
        """What has the socket; where the handler starts TLS, the streams get one on top of it."""
        self._handling = False
        """Whether the handler is at work."""
        self._protocol: StreamProtocol | None = None
        self._aborted = False

    async def serve(self) -> None:
        """Open the streams, let the handler have them, and close them."""
        if not isinstance(self._sock, ssl.SSLSocket):
            # Its close runs the CLOSED hooks, which are not to stop the loop.
            self._sock.close_via(self._submit)
        streams = await self._opened()
        if streams is None:
            return
        reader, writer = streams
        try:
            if self._aborted:
                writer.transport.abort()
            else:
                await self._handle(reader, writer)
        finally:
            try:
                await self._close(writer)
            finally:
                self._let_go()

    def cancel(self) -> None:
        """Cancel the handler; where none is at work, close the connection at once."""
        if self._handling and self.task is not None:
            self.task.cancel()
        else:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once; where it is still to be opened, do that then."""
        self._aborted = True
        if self._protocol is not None and self._protocol.starts_tls:
            # Not now: asyncio's TLS may not have been told yet that it is to begin.
            asyncio.get_running_loop().call_soon(self._protocol.end_handshake)
        elif self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Close the connection at once and without a goodbye, so that its peer gets an RST."""
        self._sock.abort()
        self.abort()

    def done(self, _task: object) -> None:
        """The task is done, or was cancelled before it began."""
        self._forget(self.connection)

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Return the streams; None, when the socket has been closed, and why has been logged."""
        streams = None
        try:
            if not self._aborted:
                streams = await self._open()
        except Exception as exc:  # noqa: BLE001  it is logged
            log.warning("%r could not be served: %r", self.connection, exc)
        finally:
            if streams is None:
                self._close_unopened()
        return streams

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = StreamReader()
        protocol = self._protocol = StreamProtocol(reader, self.connection)
        if self._leading_bytes:
            reader.feed_data(self._leading_bytes)
            self._leading_bytes = b""
        self._sock.settimeout(0)
        if isinstance(self._sock, ssl.SSLSocket):
            # asyncio takes no socket whose handshake is done (bpo-42854, TypeError).
            self._transport = TLSTransport(loop, self._sock, protocol, self._submit)
        else:
            self._transport = PlainTransport(loop, self._sock, protocol)
        await asyncio.sleep(0)  # until the protocol has been told of its transport
        return reader, protocol.writer

    def _close_unopened(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            return
        end: Callable[[], object] = self._sock.end
        if isinstance(self._sock, ssl.SSLSocket):
            self._submit(end)
        else:
            # By `close_via`; and in this thread, as a transport may be about to close it here too.
            end()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._handling = True
        try:
            result: Any = self._handler(reader, writer)
            await _awaitable(result)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # noqa: BLE001  sys.exit() ends no other connection
            self._report(exc)
        finally:
            self._handling = False

    def _let_go(self) -> None:
        """Forget the streams: what has ended is not to wait for the garbage collector."""
        if self._protocol is not None:
            self._protocol.let_go()

    def _report(self, exc: BaseException) -> None:
        name = getattr(self._handler, "__qualname__", repr(self._handler))
        if self._protocol is not None and self._protocol.has_ended_by(exc):
            log.info("%r has ended before its handler %s: %r", self.connection, name, exc)
        else:
            log.error("The handler %s failed on %r", name, self.connection, exc_info=exc)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        """Let the peer have what is left to be sent, within limits, and close."""
        transport: Any = self._transport
        protocol: Any = self._protocol
        loop, will_hear = asyncio.get_running_loop(), False
        cancelled = self._aborted or (self.task is not None and self.task.cancelling())
        cut = loop.call_later(0 if cancelled else _FLUSH_LIMIT, _abort, transport)
        # Of asyncio's TLS, nothing may be left but a shell that is good for no call.
        # Nor of a socket that another thread has closed (ValueError, its number is -1).
        with contextlib.suppress(AttributeError, ValueError):
            protocol.close()
            will_hear = writer.transport.get_protocol() is protocol
        if not (will_hear or protocol.is_lost):
            return  # the handler has set a protocol, and ours is told nothing
        try:
            # Also where it has ended: asyncio complains of an error for which nobody has asked.
            with contextlib.suppress(Exception):  # the handler has had it, or did not care
                await writer.wait_closed()
        finally:
            cut.cancel()
            _abort(transport)  # where this has been cancelled


def _abort(transport: Any) -> None:
    """Abort `transport`; one of asyncio's own may have ended, or its socket been closed."""
    with contextlib.suppress(AttributeError, ValueError):
        transport.abort()


def _awaitable(result: Any) -> Any:
    """Return `result`, which a handler has returned.

    Raises:
        TypeError: it cannot be awaited.
    """
    if not inspect.isawaitable(result):
        raise TypeError(f"the handler is not a coroutine function: it returned {result!r}")
    return result
