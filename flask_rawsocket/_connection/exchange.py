"""`Exchange`: the request in hand, as each server has it.  Types only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

__all__ = ["Exchange", "StreamHandler"]

StreamHandler: TypeAlias = (
    "Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]"
)
"""What serves a connection on the event loop."""


class Exchange(Protocol):
    """The request in hand and its response, as the server has them."""

    def force_close(self) -> None:
        """Have the connection closed after the response, which says so if it still can."""

    def refusal(self) -> Exception | None:
        """Give the reason why the connection cannot be let go of now, or None."""

    def release(self) -> bytes:
        """Let go: write and read nothing any more, and give the bytes that were read ahead."""
