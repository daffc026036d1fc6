"""Where a stream's bytes go: to a connection of the event loop, or to a thread that is held for it.

Both are written to on the loop, and never wait. How much waits to be sent is asked for, and a
stream that can wait does so in `drain`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QUEUE_LIMIT", "ConnectionWriter", "SlowError", "ThreadWriter", "Writer"]

QUEUE_LIMIT: Final = 64 * 1024
"""The bytes that may wait for one client."""

STALL_LIMIT: Final = 60.0
"""The seconds for which a stream waits for its client to read on."""


_OWN_TURN: Final = 0.005
"""The seconds for which a stream that always has more to send may keep the loop."""


class SlowError(Exception):
    """The client does not read."""


class Writer(Protocol):
    """What a stream writes to."""

    def write(self, data: bytes) -> None:
        """Send `data`, now or later."""

    def waiting(self) -> int:
        """Return how many bytes wait to be sent."""

    async def drain(self) -> None:
        """Wait until there is room.

        Raises:
            SlowError: there was none for `STALL_LIMIT`.
        """


class _Pauses:
    """Whether there is room, and who waits for it."""

    _resumed: asyncio.Future[None] | None = None
    _turn = 0.0
    """When the loop has had its turn, a time of its clock."""

    def pause(self) -> None:
        if self._resumed is None:
            self._resumed = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    async def drain(self) -> None:
        """Wait until there is room; let the loop have its turn now and then, where there is."""
        now = asyncio.get_running_loop().time()
        if self._resumed is None:
            if now - self._turn > _OWN_TURN:  # a generator may never wait for anything else
                await asyncio.sleep(0)
                self._turn = asyncio.get_running_loop().time()
            return
        self._turn = now
        try:
            async with asyncio.timeout(STALL_LIMIT):
                await asyncio.shield(self._resumed)
        except TimeoutError:
            raise SlowError from None


class ConnectionWriter(_Pauses, asyncio.Protocol):
    """A connection of the event loop, whose protocol this is from here on.

    Args:
        transport: of the connection.
        received: called with what the peer sends.
        gone: called when the peer has sent its last, or the connection has ended.
        filled: called when more than `QUEUE_LIMIT` waits to be sent.
        emptied: called when there is room again.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        received: Callable[[bytes], object],
        gone: Callable[[], object],
        filled: Callable[[], object],
        emptied: Callable[[], object],
    ) -> None:
        self._transport = transport
        self._former: Any = transport.get_protocol()
        self._received = received
        self._gone = gone
        self._filled = filled
        self._emptied = emptied
        transport.set_write_buffer_limits(high=QUEUE_LIMIT)
        transport.set_protocol(self)
        # Bound once, as a broadcast calls them for each member.
        self.write = transport.write
        self.waiting = transport.get_write_buffer_size

    _is_flushing = False

    def leave(self) -> None:
        """Let the transport have its former protocol."""
        self._transport.set_protocol(self._former)
        # Cycles, which would live until the next collection.
        del self.write, self.waiting, self._received, self._gone, self._filled, self._emptied

    @property
    def is_closing(self) -> bool:
        """Whether the connection has ended, or is about to."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    async def flush(self) -> None:
        """Wait until everything has been sent.

        Raises:
            SlowError: nothing was read for `STALL_LIMIT`.
        """
        self._is_flushing = True  # what is left is not too much
        self._transport.set_write_buffer_limits(high=0)
        await self.drain()

    def end(self) -> None:
        """Send no more, where the transport has half a close; else close it."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def close(self) -> None:
        """End the connection when everything has been sent."""
        self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    # What the transport calls

    def data_received(self, data: bytes) -> None:
        """Pass on what the peer has sent."""
        self._received(data)

    def eof_received(self) -> bool:
        """The peer has sent its last; what is left may still be sent to it."""
        self._gone()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._former.connection_lost(exc)
        self.resume()
        self._gone()

    def pause_writing(self) -> None:
        """There is no room."""
        self.pause()
        if not self._is_flushing:
            self._filled()

    def resume_writing(self) -> None:
        """There is room again."""
        self.resume()
        self._emptied()


class ThreadWriter(_Pauses):
    """A thread that sends what is written, as a server's that takes a body from its application.

    Made in that thread; `take` and `leave` are called there, all else on the loop.

    Args:
        loop: the loop on which the stream runs.
        filled: called on the loop when more than `QUEUE_LIMIT` waits to be sent.
        emptied: called there when there is room again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        filled: Callable[[], object],
        emptied: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._filled = filled
        self._emptied = emptied
        self._more = threading.Condition()
        """Guards what follows; told of more, and of the end."""
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._left = False

    def write(self, data: bytes) -> None:
        """Have the thread send `data`."""
        with self._more:
            if self._left:
                return
            self._queue.append(data)
            self._size += len(data)
            is_full = self._size > QUEUE_LIMIT
            self._more.notify()
        if is_full and self._resumed is None:
            self.pause()
            self._filled()

    def waiting(self) -> int:
        """Return how many bytes the thread has not taken."""
        return self._size

    def end(self) -> None:
        """There is no more to be sent."""
        with self._more:
            self._ended = True
            self._more.notify()

    def take(self, timeout: float) -> bytes | None:
        """Wait for more; return it all, None at the end, b"" where there was none for `timeout`."""
        with self._more:
            self._more.wait_for(lambda: self._queue or self._ended, timeout)
            data = b"".join(self._queue)
            self._queue.clear()
            was_full = self._size > QUEUE_LIMIT
            self._size = 0
            if not data:
                return None if self._ended else b""
        if was_full:
            self._loop.call_soon_threadsafe(self._empty)
        return data

    def _empty(self) -> None:
        self.resume()
        self._emptied()

    def leave(self) -> None:
        """Send no more."""
        with self._more:
            self._left = True
            self._queue.clear()
            self._size = 0
        self._loop.call_soon_threadsafe(self.resume)
