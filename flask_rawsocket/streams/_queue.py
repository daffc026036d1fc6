"""`Queue`: what a coroutine that iterates a group has not taken yet."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import TYPE_CHECKING

from ._live import loop
from ._writers import QUEUE_LIMIT

if TYPE_CHECKING:
    from ._message import Message

__all__ = ["Queue"]


class Queue:
    """The messages that a coroutine has not taken yet."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self._size = 0
        self._loop = asyncio.get_running_loop()
        self._is_ours = self._loop is loop()
        self._more: asyncio.Future[None] | None = None
        self.has_ended = False
        self.is_slow = False

    def put(self, message: Message) -> None:
        """Queue a message; called on the loop of this process, which may not be the taker's."""
        if self._size > QUEUE_LIMIT:
            self.is_slow = self.has_ended = True
        else:
            self.messages.append(message)
            self._size += message.size
        self._tell()

    def end(self, _code: int = 0, _reason: str = "") -> None:
        """There will be no more."""
        self.has_ended = True
        self._tell()

    def _tell(self) -> None:
        if self._is_ours:
            self._wake()
        else:
            self._loop.call_soon_threadsafe(self._wake, context=contextvars.Context())

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def take(self) -> Message | None:
        """Return the next message, None at the end."""
        while not self.messages:
            if self.has_ended:
                return None
            self._more = self._loop.create_future()
            if not self.messages and not self.has_ended:
                await self._more
        message = self.messages.popleft()
        self._size -= message.size
        return message
