"""What a view may return with no thread held: Server-Sent Events, WebSockets, async generators.

Names only. They are made by the methods `RawSocket.stream`, `events`, `websocket` and `group`; here
are the classes, for annotations. All but `Event` are resolved when they are asked for: asyncio
takes a while to import, and `WebSocket` needs the extra ``websocket``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from ._event import Event

if TYPE_CHECKING:
    from ._broker import Broker, LocalBroker
    from ._close_codes import WebSocketClosedError
    from ._group import Group, Member
    from ._message import Message
    from ._stream import Stream, current_stream
    from ._websocket import WebSocket

__all__ = [
    "Broker",
    "Event",
    "Group",
    "LocalBroker",
    "Member",
    "Message",
    "Stream",
    "WebSocket",
    "WebSocketClosedError",
    "current_stream",
]

_HOMES: Final = {
    "Broker": "_broker",
    "Group": "_group",
    "LocalBroker": "_broker",
    "Member": "_group",
    "Message": "_message",
    "Stream": "_stream",
    "WebSocket": "_websocket",
    "WebSocketClosedError": "_close_codes",
    "current_stream": "_stream",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
