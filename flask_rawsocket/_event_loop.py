"""`EventLoop`: one asyncio loop for the connections that ``hijack_async`` has taken over.

It runs in a thread of its own and is started by the first such connection.  What the server had
read ahead is fed to the reader before the transport reads on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ._tls_transport import TLSTransport

if TYPE_CHECKING:
    from ._handoff import HijackedSocket
    from ._owner import StreamHandler
    from .connection import Connection

__all__ = ["EventLoop"]

log = logging.getLogger("flask_rawsocket")

_CLOSERS = 4
"""How many threads run the CLOSED hooks of these connections."""


class EventLoop:
    """The event loop of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Guards the start."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        """The handlers at work; only the loop's thread touches it."""
        self._closers = ThreadPoolExecutor(_CLOSERS, "rawsocket-closed")

    def serve(self, connection: Connection, stream: HijackedSocket, handler: StreamHandler) -> None:
        """Have `handler` serve `stream`; return at once.

        Args:
            connection: whose stream it is, for the log.
            stream: what its server has let go of.
            handler: called with a reader and a writer, on the loop.
        """
        loop = self._started()
        loop.call_soon_threadsafe(self._begin, loop, connection, stream, handler)

    def stop(self, timeout: float) -> bool:
        """Cancel the handlers, and wait for them to end.

        Args:
            timeout: how long to wait, in seconds.

        Returns:
            Whether all have ended.
        """
        loop = self._loop
        if loop is None:
            return True
        ended = asyncio.run_coroutine_threadsafe(self._cancel_all(), loop)
        try:
            ended.result(timeout)
        except TimeoutError:
            return False
        return True

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(
                    target=loop.run_forever, name="rawsocket-asyncio", daemon=True
                ).start()
                self._loop = loop
            return self._loop

    def _begin(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        stream: HijackedSocket,
        handler: StreamHandler,
    ) -> None:
        task = loop.create_task(self._serve(connection, stream, handler))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(
        self, connection: Connection, stream: HijackedSocket, handler: StreamHandler
    ) -> None:
        try:
            reader, writer = await self._open(stream)
        except (OSError, ValueError) as exc:
            log.warning("%r could not be served: %s", connection, exc)
            self._closers.submit(stream.close)
            return
        try:
            await handler(reader, writer)
        except Exception:
            name = getattr(handler, "__qualname__", repr(handler))
            log.exception("The handler %s failed on %r", name, connection)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _open(
        self, stream: HijackedSocket
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        if stream.leading_bytes:
            reader.feed_data(stream.leading_bytes)
        sock = stream.sock
        sock.settimeout(0)
        transport: asyncio.Transport
        if isinstance(sock, ssl.SSLSocket):
            # asyncio takes no socket whose handshake is done (bpo-42854, TypeError).
            transport = TLSTransport(loop, sock, protocol, self._closers.submit)
        else:
            # Its close runs the CLOSED hooks, which are not to stop the loop.
            sock.close_via(self._closers.submit)  # type: ignore[attr-defined]
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _cancel_all(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
