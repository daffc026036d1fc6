"""The streams that are open in this process, and how they are told that the server stops.

All of it runs on the event loop, but for `say_goodbye`.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from typing import TYPE_CHECKING, Final

from .._tracking.tracker import process_tracker

if TYPE_CHECKING:
    from ._stream import Stream

__all__ = ["loop", "streams"]

_BATCH: Final = 100
"""How many streams are told at once."""

_PAUSE: Final = 0.02
"""Seconds between two batches, at most: not all clients are to reconnect in the same moment."""

_SHARE: Final = 0.4
"""The part of the time that hijacked connections have at a stop, in which all are told."""

_DEFAULT_TIME: Final = 5.0


class LiveStreams:
    """The streams that are open."""

    def __init__(self) -> None:
        self._streams: set[Stream] = set()

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: Stream) -> None:
        """Enter `stream`, which begins; if the server stops meanwhile, it is told at once."""
        self._streams.add(stream)
        if process_tracker.is_stopping:
            asyncio.get_running_loop().call_soon(stream.stop)

    def discard(self, stream: Stream) -> None:
        """Remove `stream`, which has ended."""
        self._streams.discard(stream)

    def clear(self) -> None:
        """Forget all of them."""
        self._streams.clear()

    async def stop_all(self, seconds: float) -> None:
        """Tell the streams that the server stops, batch after batch.

        Args:
            seconds: in which all are to be told.
        """
        left = list(self._streams)
        batches = [left[at : at + _BATCH] for at in range(0, len(left), _BATCH)]
        pause = min(_PAUSE, seconds / max(1, len(batches)))
        for batch in batches:
            for stream in batch:
                stream.stop()
            await asyncio.sleep(pause)


streams: Final = LiveStreams()
"""Those of this process."""


def loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process, which runs.

    Raises:
        RawSocketError: it cannot be started.
    """
    return process_tracker.loop()


def say_goodbye() -> None:
    """The server begins to stop: have the streams told. Returns at once."""
    timeout = process_tracker.settings.stop_timeout
    # Without a time of its own it is the server's whole grace; clients are not to wait that long.
    seconds = _DEFAULT_TIME if timeout is None else timeout
    if not streams:
        return
    telling = streams.stop_all(seconds * _SHARE)
    contextvars.Context().run(asyncio.run_coroutine_threadsafe, telling, loop())


def _after_fork() -> None:
    streams.clear()  # the parent's are not the child's


process_tracker.at_shutdown(say_goodbye)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
