"""Why a stream ends (`End`), and how its generator or handler is made to (`Interruption`)."""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import TYPE_CHECKING, Any, Final

from .._connection.state import CloseReason

if TYPE_CHECKING:
    from ._stream import Stream

__all__ = ["End", "Interruption"]

log = logging.getLogger("flask_rawsocket")

LIMIT: Final = 60.0
"""The seconds that what has been cancelled has for its ``finally``."""


class End(enum.Enum):
    """Why a stream ends."""

    COMPLETE = CloseReason.RESPONSE_COMPLETE
    """Its generator or handler has returned, or it was told to end."""

    GONE = CloseReason.PEER_CLOSED
    """The client has left."""

    STOP = CloseReason.STOPPED
    """The server stops."""

    SLOW = CloseReason.SLOW_READER
    """The client does not read."""

    IDLE = CloseReason.APP_CLOSED
    """Nothing has been said for too long."""

    FAILED = CloseReason.RESPONSE_BROKEN
    """Its generator or handler has failed."""


class Interruption:
    """Cancels what a stream waits for; again and again, where somebody catches that.

    Args:
        stream: the stream, for the log.
        task: what it runs in.
    """

    __slots__ = ("_stream", "_task", "_timer")

    def __init__(self, stream: Stream, task: asyncio.Task[Any]) -> None:
        self._stream = stream
        self._task = task
        self._interrupt()

    def _interrupt(self) -> None:
        self._task.cancel()
        self._timer = asyncio.get_running_loop().call_later(LIMIT, self._again)

    def _again(self) -> None:
        log.warning("%r goes on %g s after it was cancelled", self._stream, LIMIT)
        self._interrupt()

    def cancel(self) -> None:
        """Let it be: it has ended."""
        self._timer.cancel()
