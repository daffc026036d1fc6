"""`Group` and `Member`: who hears what is sent to whom.

A group is no more than a name: what there is of it is in the `Rooms` of its process.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

from ..errors import InvalidStateError, RawSocketError
from ._close_codes import check_close
from ._live import loop
from ._message import Message
from ._queue import Queue
from ._stream import End, current

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType
    from typing import Self

    from .._connection.connection import Connection
    from ._room import Rooms
    from ._stream import Stream
    from ._websocket import WebSocket

__all__ = ["Group", "Member"]


class Group:
    """All who have joined under a name, in this process.

    It is there while it has members; what was sent last is kept for a minute longer, for clients
    that come back. Every method may be called from any thread or coroutine, and returns at once.

    Attributes:
        name: the name.
    """

    def __init__(self, name: str, rooms: Rooms) -> None:
        self.name = name
        self._rooms = rooms

    def __repr__(self) -> str:
        return f"<Group {self.name!r}, {len(self)} members>"

    def __len__(self) -> int:
        return self._rooms.count(self.name)

    def __bool__(self) -> bool:
        return True  # a group without members is a group

    def __iter__(self) -> Iterator[Member]:
        """Iterate the members there are at this moment."""
        return iter(self._rooms.members(self.name))

    def send(
        self,
        data: Any,
        event: str | None = None,
        id: str | None = None,  # noqa: A002  the field's name
    ) -> None:
        """Send `data` to every member. It is encoded once for all of them.

        Messages that one thread sends are heard in that order. A member for which 64 KiB wait is
        dropped at the next message, for it does not read; nobody is held up.

        Args:
            data: ``str``, ``bytes``, or what JSON can express. To a WebSocket, bytes are a binary
                message and all else is text.
            event: the name of the Server-Sent Event; WebSockets hear nothing of it.
            id: its id. Without one it is numbered.

        Raises:
            TypeError: JSON cannot express it.
            ValueError: the name or the id has more than one line.
        """
        self._rooms.broker.publish(self.name, Message(data, event, id))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End every member, when it has been sent what was sent before.

        Args:
            code: the close code for WebSockets (RFC 6455, section 7.4); event streams just end.
            reason: likewise, at most 123 bytes of UTF-8.

        Raises:
            ValueError: a close frame cannot say that.
        """
        check_close(code, reason)
        self._rooms.broker.publish(self.name, Message("", close=(code, reason)))

    def join(self, ws: WebSocket | None = None, *, last_event_id: str | None = None) -> Member:
        """Return a member to be.

        ::

            return rawsocket.events(group.join())     # what is sent goes to this client

            with group.join(ws):                      # and to this WebSocket, inside
                async for message in ws: ...

            async for data in group.join(): ...       # in a coroutine

        It joins when the response, the block or the loop begins.

        Args:
            ws: a WebSocket that is to be sent the messages.
            last_event_id: what the caller has heard last, so as to hear what it has missed. An
                event stream does not need it: its client sends it.
        """
        return Member(self, self._rooms, ws, last_event_id)


def _nothing(*_: object) -> None:
    """Nobody hears it."""


class Member:
    """One who hears what a group is sent.

    Attributes:
        group: the group.
        connection: the Connection that hears it, while it is a member; None if there is none.
        write: called with each message, in its `form`, on the event loop.
        form: of a `Message`: the name of an attribute.
        end: called with a code and a reason when the group closes, on the event loop.
        first: the number of the first message that it hears.
    """

    __slots__ = (
        "__weakref__",
        "_is_in",
        "_last_event_id",
        "_rooms",
        "_ws",
        "connection",
        "end",
        "first",
        "form",
        "group",
        "write",
    )

    def __init__(
        self, group: Group, rooms: Rooms, ws: WebSocket | None, last_event_id: str | None
    ) -> None:
        self.group = group
        self.connection: Connection | None = None
        self.first = 0
        self.form = "itself"
        self.write: Callable[[Any], object] = _nothing
        self.end: Callable[[int, str], object] = _nothing
        self._rooms = rooms
        self._ws = ws
        self._last_event_id = last_event_id
        self._is_in = False

    def __repr__(self) -> str:
        return f"<Member of {self.group.name!r} on {self.connection!r}>"

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End this member's stream or WebSocket; callable from any thread.

        Args:
            code: the close code for a WebSocket (RFC 6455, section 7.4).
            reason: likewise, at most 123 bytes of UTF-8.

        Raises:
            ValueError: a close frame cannot say that.
        """
        check_close(code, reason)
        loop().call_soon_threadsafe(self.end, code, reason, context=contextvars.Context())

    def count_sent(self) -> int:
        """Return how many messages the group has been sent, in this process."""
        return self._rooms.count_sent(self.group.name)

    # How it joins and leaves

    def start(
        self,
        form: str,
        write: Callable[[Any], object],
        end: Callable[[int, str], object],
        last_event_id: str | None = None,
        stream: Stream | None = None,
    ) -> list[Message]:
        """Join; return what was missed since `last_event_id`. Called on the loop.

        Args:
            form: in which it wants the messages, an attribute of `Message`.
            write: called with each.
            end: called with a code and a reason when the group closes.
            last_event_id: what was heard last, if `Group.join` was not told.
            stream: what hears it.
        """
        if self._is_in:
            raise InvalidStateError("this member has joined already: call join() again")
        self._is_in = True
        self.connection = stream.connection if stream is not None else None
        self.form, self.write, self.end = form, write, end
        return self._rooms.enter(self.group.name, self, self._last_event_id or last_event_id)

    def leave(self) -> None:
        """Be no member any more."""
        if self._is_in:
            self._rooms.leave(self.group.name, self)
            self.write = self.end = _nothing  # also where a message is being passed on

    def __enter__(self) -> Self:
        if self._ws is None:
            raise InvalidStateError("`with group.join(ws)` is for a WebSocket: say which")
        ws = self._ws
        for message in self.start("frame", ws.writer_for(self), ws.begin_close, None, ws):
            self.write(message.frame)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()
        if self._ws is not None:
            self._ws.forget(self)

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate the data of the messages, until the group closes or the stream ends."""
        return _listen(self)


async def _listen(member: Member) -> AsyncIterator[Any]:
    stream = current()
    queue = Queue()
    for message in member.start("itself", queue.put, queue.end, None, stream):
        queue.put(message)
    if stream is not None:
        stream.at_end(queue.end)
    try:
        while (heard := await queue.take()) is not None:
            yield heard.data
        if queue.is_slow:
            if stream is None:
                raise RawSocketError(f"{member!r} was dropped: more than 64 KiB waited for it")
            stream.end(End.SLOW)
    finally:
        member.leave()
        if stream is not None:
            stream.not_at_end(queue.end)
