"""`Body` and `EventStream`: responses whose body comes from an async generator, or from a group."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from .._tracking.tracker import process_tracker
from ._event import KEEP_ALIVE, Event, encode, event_of
from ._group import Member
from ._message import chunk
from ._outlet import Outlet
from ._stream import End, Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

__all__ = ["Body", "EventStream"]

_LAST_CHUNK: Final = b"0\r\n\r\n"

_RETRY: Final = (1000, 5000)
"""Milliseconds after which clients of a server that stops reconnect, not all at once."""


class Body(Stream):
    """A body whose parts an async iterable makes."""

    chunked = False
    """Whether it is sent in chunks."""

    def __init__(self, source: AsyncIterable[Any], *args: Any) -> None:
        super().__init__(*args)
        self._source = source

    @property
    def _name(self) -> str:
        return str(getattr(self._source, "__qualname__", repr(self._source)))

    @property
    def _shows_its_end(self) -> bool:  # type: ignore[override]
        return self.chunked

    async def _run(self) -> None:
        self._out.write(self._head)
        source = aiter(self._source)
        try:
            async for item in source:
                if self._ending is not None:  # the source did not let itself be interrupted
                    break
                self.sent += 1
                self._send(self._encode(item))
                await self._out.drain()
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    def _encode(self, item: Any) -> bytes:
        if isinstance(item, str):
            return item.encode()
        if isinstance(item, bytes | bytearray | memoryview):
            return bytes(item)
        raise TypeError(f"{self._name} is to yield bytes or str, not {item!r}")

    def _send(self, data: bytes) -> None:
        if data:  # an empty chunk would be the last
            self._out.write(chunk(data) if self.chunked else data)

    def _last_words(self, why: End) -> None:
        if self.chunked and why in (End.COMPLETE, End.STOP):
            self._out.write(_LAST_CHUNK)


class EventStream(Outlet, Body):
    """Server-Sent Events.

    The messages of a group that were asked for by `Group.join` are written as they come; there is
    nobody in between who would have to be woken.

    Args:
        source: a `Member`, or an async iterable of events or of their data.
        ping: the seconds between two comments; None for none.
        args: those of a `Stream`.
    """

    _timer: asyncio.TimerHandle | None = None

    def __init__(self, source: AsyncIterable[Any], ping: float | None, *args: Any) -> None:
        super().__init__(source, *args)
        self._ping_interval = ping

    async def _run(self) -> None:
        self._wait_for_ping()
        source = self._source
        if not isinstance(source, Member):
            await super()._run()
            return
        form, write = "sse_chunk" if self.chunked else "sse", self.writer_for(source)
        missed = source.start(form, write, self.close, self.last_event_id, self)
        try:
            self._out.write(self._head)
            for message in missed:
                self._out.write(getattr(message, form))
            await asyncio.get_running_loop().create_future()  # until it is interrupted
        finally:
            source.leave()
            self.forget(source)

    def _is_open(self) -> bool:
        return self._ending is None and not self.is_over

    def _encode(self, item: Any) -> bytes:
        return encode(event_of(item))

    def _wait_for_ping(self) -> None:
        if self._ping_interval is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._ping_interval, self._ping)

    def _ping(self) -> None:
        if self._is_stalled():
            self.end(End.SLOW)
            return
        if not self._out.waiting():  # else there is something on its way
            self._send(KEEP_ALIVE)
        self._wait_for_ping()

    def close(self, _code: int = 1000, _reason: str = "") -> None:
        """End the stream; its client will reconnect, which a 204 then can tell it not to do."""
        self.end(End.COMPLETE)

    def silent(self) -> None:
        """Nothing has been said for too long: end properly, as `close` does."""
        self.close()

    def stop(self) -> None:
        """The server stops: have the client reconnect in a moment, when others are there."""
        self._send_retry()
        self.end(End.STOP)

    def _send_retry(self) -> None:
        self._send(encode(Event(retry=random.randint(*_RETRY))))  # noqa: S311  not a secret

    def _forced(self) -> None:
        if process_tracker.is_stopping:  # there was no time to tell all of them
            self._send_retry()
            self._last_words(End.STOP)

    def _over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super()._over()
