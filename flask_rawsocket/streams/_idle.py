"""The limit on how long a stream may be silent: ``RAWSOCKET_STREAM_IDLE_TIMEOUT``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from .._tracking.tracker import process_tracker

if TYPE_CHECKING:
    from types import EllipsisType

    from ._stream import Stream

__all__ = ["IdleTimer", "idle_timeout"]

_LOOKS: Final = 4
"""How often it is looked in the time: a stream is ended at most a quarter of that too late."""


def idle_timeout(asked: float | EllipsisType | None) -> float | None:
    """Return the limit in seconds: `asked`, or what is configured; None for no limit.

    Raises:
        ValueError: `asked` is not above 0.
    """
    if asked is ...:
        return process_tracker.settings.stream_idle_timeout
    if asked is not None and asked <= 0:
        raise ValueError(f"idle_timeout takes seconds above 0, or None, not {asked!r}")
    return asked


class IdleTimer:
    """Tells a stream when nothing has been said for too long.

    It looks at counts now and then, as a broadcast calls nothing of a stream but its transport.

    Args:
        stream: which is told by `silent`.
        timeout: in seconds.
    """

    __slots__ = ("_last", "_since", "_stream", "_timeout", "_timer")

    def __init__(self, stream: Stream, timeout: float) -> None:
        self._stream = stream
        self._timeout = timeout
        self._last: Any = stream.said()
        self._since = asyncio.get_running_loop().time()
        self._wait()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._timeout / _LOOKS, self._look)

    def _look(self) -> None:
        said, now = self._stream.said(), asyncio.get_running_loop().time()
        if said != self._last:
            self._last, self._since = said, now
        elif now - self._since >= self._timeout:
            self._stream.silent()
            return
        self._wait()

    def cancel(self) -> None:
        """Look no more."""
        self._timer.cancel()
