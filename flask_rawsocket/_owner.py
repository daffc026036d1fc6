"""What a Connection calls upward: its `Owner`, and the request in hand, its `Exchange`.

Types only.  The tracker is an Owner; each server has an Exchange of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Awaitable, Callable

    from ._handoff import HijackedSocket
    from .connection import Connection

__all__ = ["Exchange", "Owner", "StreamHandler", "Told"]

StreamHandler: TypeAlias = (
    "Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]"
)
"""What serves a connection on the event loop."""

Told: TypeAlias = "Callable[[], object] | threading.Event"
"""Who is told of a peer's going: a callback of the application's, or an Event of our own."""


class Exchange(Protocol):
    """The request in hand and its response, as the server has them."""

    def force_close(self) -> None:
        """Have the connection closed after the response, which says so if it still can."""

    def refusal(self) -> Exception | None:
        """Give the reason why the connection cannot be let go of now, or None."""

    def release(self) -> bytes:
        """Let go: write and read nothing any more, and give the bytes that were read ahead."""


class Owner(Protocol):
    """Who keeps a Connection's state: the tracker, or for a foreign server its stand-in."""

    def force_close(self, connection: Connection) -> None:
        """See to it that `connection` is closed once its response has been sent."""

    def hijack(self, connection: Connection) -> HijackedSocket:
        """Let go of `connection`, and give what its new owner holds."""

    def serve(self, connection: Connection, stream: HijackedSocket, handler: StreamHandler) -> None:
        """Have `handler` serve `stream`, the one of `connection`, on the event loop."""

    def abort(self, connection: Connection) -> None:
        """Reset `connection`."""

    def watch(self, connection: Connection, told: Told) -> Callable[[], None]:
        """Tell `told` once the peer is gone, an Event also at the end; give what takes it back."""
