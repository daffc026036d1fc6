"""`EventLoop`: one asyncio loop for the connections that ``hijack_async`` has taken over.

It runs in a thread of its own and is started by the first such connection.  What the server had
read ahead is fed to the reader before the transport reads on.

Two rules: a descriptor is closed by its transport and by nobody else, as the loop's selector would
keep its number, which is the next connection's; and nothing that a handler does ends the loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import logging
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

from .protocol import StreamProtocol
from .tls_transport import TLSTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.connection import Connection
    from .._connection.exchange import StreamHandler
    from .._connection.hijacked import HijackedSocket

__all__ = ["EventLoop"]

log = logging.getLogger("flask_rawsocket")

_CLOSERS = 4
"""How many threads run the CLOSED hooks of these connections."""

_FLUSH_LIMIT = 5.0
"""Seconds for the peer to take what its handler has left to be sent."""


class EventLoop:
    """The event loop of one process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        """Guards what follows.  Re-entrant: a transport may be closed by the garbage collector."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._served: dict[Connection, _Served] = {}
        self._closings: set[concurrent.futures.Future[object]] = set()
        """The closes that the closers have not made yet."""
        self._closers = concurrent.futures.ThreadPoolExecutor(_CLOSERS, "rawsocket-closed")

    def serve(self, connection: Connection, stream: HijackedSocket, handler: StreamHandler) -> None:
        """Have `handler` serve `stream`; return at once.

        Args:
            connection: whose stream it is.
            stream: what its server has let go of.
            handler: called with a reader and a writer, on the loop.
        """
        try:
            loop = self._started()
        except BaseException:
            stream.close()
            raise
        served = _Served(connection, stream, handler, self._submit)
        with self._lock:
            self._served[connection] = served
        loop.call_soon_threadsafe(self._begin, loop, served)

    def abort(self, connection: Connection) -> bool:
        """Reset `connection` if it is served here; its handler finds the end of the stream.

        Args:
            connection: one whose close is a reset already, by ``SO_LINGER``.

        Returns:
            Whether it is served here.
        """
        with self._lock:
            served, loop = self._served.get(connection), self._loop
        if served is None or loop is None:
            return False
        loop.call_soon_threadsafe(served.reset)
        return True

    def stop(self, timeout: float) -> bool:
        """Cancel the handlers; wait for them to end, and for the CLOSED hooks.

        Args:
            timeout: how long to wait, in seconds.  A handler has half of it; then its connection
                is closed all the same.

        Returns:
            Whether all have ended.
        """
        loop = self._loop
        if loop is None:
            return True
        deadline = time.monotonic() + timeout
        ending = asyncio.run_coroutine_threadsafe(self._end_all(timeout / 2), loop)
        try:
            all_ended = ending.result(timeout)
        except TimeoutError:  # something blocks the loop
            return False
        with self._lock:
            closings = list(self._closings)
        left = max(0, deadline - time.monotonic())
        return not concurrent.futures.wait(closings, left).not_done and all_ended

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run, args=[loop], name="rawsocket-asyncio", daemon=True
                ).start()
                self._loop = loop
            return self._loop

    def _begin(self, loop: asyncio.AbstractEventLoop, served: _Served) -> None:
        served.task = loop.create_task(served.serve())
        served.task.add_done_callback(lambda _: self._forget(served))

    def _forget(self, served: _Served) -> None:
        with self._lock:
            del self._served[served.connection]

    async def _end_all(self, patience: float) -> bool:
        with self._lock:
            all_served = [each for each in self._served.values() if each.task is not None]
        for each in all_served:
            each.cancel()
        if not all_served:
            return True
        _, left = await asyncio.wait(
            [each.task for each in all_served if each.task], timeout=patience
        )
        for each in all_served:
            if each.task in left:
                each.abort()
        # An aborted transport closes its socket in the loop's next round.
        await asyncio.sleep(0)
        return not left

    def _submit(self, close: Callable[[], object]) -> None:
        """Have the closers call `close`, which runs the CLOSED hooks."""
        try:
            closing = self._closers.submit(close)
        except RuntimeError:  # the interpreter ends
            close()
            return
        with self._lock:
            self._closings.add(closing)
        closing.add_done_callback(self._closed)

    def _closed(self, closing: concurrent.futures.Future[object]) -> None:
        with self._lock:
            self._closings.discard(closing)
        exc = closing.exception()
        if exc is not None:
            log.error("A connection could not be closed", exc_info=exc)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run `loop` for as long as the process lives."""
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            # Out of a task that a handler has begun; asyncio lets these two through.
            log.exception("A task on the event loop wanted to exit; the loop goes on")


class _Served:
    """A connection and its handler, on the loop; whatever is called here is called there.

    Attributes:
        connection: whose stream it is.
        task: what runs `serve`.
    """

    def __init__(
        self,
        connection: Connection,
        stream: HijackedSocket,
        handler: StreamHandler,
        submit: Callable[[Callable[[], object]], object],
    ) -> None:
        self.connection = connection
        self.task: asyncio.Task[None] | None = None
        self._stream = stream
        self._handler = handler
        self._submit = submit
        """Has a close made by another thread."""
        self._transport: asyncio.Transport | None = None
        """What has the socket; where the handler starts TLS, the streams get one on top of it."""
        self._handling = False
        """Whether the handler is at work."""
        self._protocol: StreamProtocol | None = None
        self._aborted = False

    async def serve(self) -> None:
        """Open the streams, let the handler have them, and close them."""
        if not isinstance(self._stream.sock, ssl.SSLSocket):
            # Its close runs the CLOSED hooks, which are not to stop the loop.
            self._stream.sock.close_via(self._submit)  # type: ignore[attr-defined]
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
            await self._close(writer)

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
        sock: Any = self._stream.sock
        sock.abort()
        self.abort()

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Give the streams; None, when the socket has been closed, and why has been logged."""
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
        reader = asyncio.StreamReader()
        protocol = self._protocol = StreamProtocol(reader, self.connection)
        if self._stream.leading_bytes:
            reader.feed_data(self._stream.leading_bytes)
        sock = self._stream.sock
        sock.settimeout(0)
        transport: asyncio.Transport
        if isinstance(sock, ssl.SSLSocket):
            # asyncio takes no socket whose handshake is done (bpo-42854, TypeError).
            transport = self._transport = TLSTransport(loop, sock, protocol, self._submit)
            await asyncio.sleep(0)  # until the protocol has been told of its transport
        else:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock)
            self._transport = transport
        return reader, protocol.writer

    def _close_unopened(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        elif isinstance(self._stream.sock, ssl.SSLSocket):
            self._submit(self._stream.close)
        else:
            # By `close_via`; and in this thread, as a transport may be about to close it here too.
            self._stream.close()

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
        cut = loop.call_later(0 if cancelled else _FLUSH_LIMIT, transport.abort)
        # Of asyncio's TLS, nothing may be left but a shell that is good for no call.
        with contextlib.suppress(AttributeError):
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
            transport.abort()  # where this has been cancelled


def _awaitable(result: Any) -> Any:
    """Give `result`, which a handler has returned.

    Raises:
        TypeError: it cannot be awaited.
    """
    if not inspect.isawaitable(result):
        raise TypeError(f"the handler is no coroutine function: it returned {result!r}")
    return result
