"""`Inbox`: the messages of a WebSocket that its handler has not taken yet."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

__all__ = ["Inbox"]

_LIMIT: Final = 64 * 1024
"""The bytes that may wait for the handler before no more is read."""

_OVERHEAD: Final = 64
"""What a message takes besides its bytes: empty ones are not free, and many fit in a segment."""


class Inbox:
    """Messages that wait for a handler, and coroutines that wait for messages, or for the end."""

    __slots__ = ("_messages", "_size", "_waiting")

    def __init__(self) -> None:
        self._messages: deque[str | bytes] = deque()
        self._size = 0
        self._waiting: list[asyncio.Future[None]] = []

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether no more is to be read for now."""
        return self._size > _LIMIT

    def put(self, message: str | bytes) -> None:
        """Add a message."""
        self._messages.append(message)
        self._size += len(message) + _OVERHEAD

    def take(self) -> str | bytes:
        """Return the oldest message."""
        message = self._messages.popleft()
        self._size -= len(message) + _OVERHEAD
        return message

    async def wait(self) -> None:
        """Wait until there is something new; several may."""
        more = asyncio.get_running_loop().create_future()
        self._waiting.append(more)
        try:
            await more
        finally:
            if more in self._waiting:
                self._waiting.remove(more)

    def wake(self) -> None:
        """Have those who wait look again."""
        waiting, self._waiting = self._waiting, []
        for more in waiting:
            if not more.done():
                more.set_result(None)
