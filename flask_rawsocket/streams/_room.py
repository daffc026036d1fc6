"""`Room`: the members that a group has in this process, and what they have been sent.

A message is taken in any thread (`accept`), which numbers it under a lock, and is passed on by the
event loop (`_pass_on`), a slice of the members at a time. So no publisher waits for a member, those
of one thread are heard in order, and the loop's other connections have their turns in between.
"""

from __future__ import annotations

import contextvars
import logging
import secrets
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from ._live import loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._broker import Broker
    from ._group import Member
    from ._message import Message

__all__ = ["HISTORY", "Rooms"]

log = logging.getLogger("flask_rawsocket")

HISTORY: Final = 100
"""How many messages a group keeps for those who come back."""

_HISTORY_SIZE: Final = 32 * 1024
"""And how many bytes of them, at most."""

_LINGER: Final = 60.0
"""Seconds for which the messages of a group without members are kept."""

_SLICE: Final = 256
"""The members that are sent a message before the loop's other connections have their turn."""


class Room:
    """The members of one group.

    Args:
        name: of the group.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.unsubscribe: Callable[[], object] = bool
        self._lock = threading.Lock()
        """Guards what follows; held for no call of a member's."""
        self._members: dict[Member, None] = {}
        self._history: deque[Message] = deque()
        self._size = 0
        self._next = 1
        self._epoch = secrets.token_hex(4)
        """Tells the ids of this room from those of an earlier one of the name."""
        self._inbox: deque[Message] = deque()
        self._passing_on = False
        self.emptied_at = 0.0
        """When its last member has left, a time of ``time.monotonic``."""
        self.is_lingering = False
        """Whether somebody looks if it can be closed: one, however often it becomes empty."""
        self.loop = loop()

    @property
    def members(self) -> tuple[Member, ...]:
        """The members, in the order in which they have joined."""
        with self._lock:
            return tuple(self._members)

    def __len__(self) -> int:
        return len(self._members)

    @property
    def sent(self) -> int:
        """How many messages it has been sent."""
        return self._next - 1

    def enter(self, member: Member, last_event_id: str | None) -> list[Message]:
        """Enter `member`; return what it has missed since `last_event_id`."""
        with self._lock:
            member.first = self._next
            self._members[member] = None
            return self._missed(last_event_id) if last_event_id else []

    def _missed(self, last_event_id: str) -> list[Message]:
        """Return what came after that; everything there is, if it is not known any more."""
        history = list(self._history)
        for place, message in enumerate(reversed(history)):
            if message.id == last_event_id:
                return history[len(history) - place :]
        return history

    def remove(self, member: Member) -> None:
        """Remove `member`."""
        with self._lock:
            self._members.pop(member, None)

    @property
    def has_history(self) -> bool:
        """Whether there are messages for those who come back."""
        return bool(self._history)

    def accept(self, message: Message) -> None:
        """Take a message; any thread may call this."""
        with self._lock:
            message.number = self._next
            self._next += 1
            if message.close is None:
                if message.id is None:
                    message.id = f"{self._epoch}-{message.number}"
                self._remember(message)
            if not self._members:
                return
            self._inbox.append(message)
            if self._passing_on:
                return
            self._passing_on = True
        self.loop.call_soon_threadsafe(self._pass_on, context=contextvars.Context())

    def _remember(self, message: Message) -> None:
        self._history.append(message)
        self._size += message.size
        while len(self._history) > HISTORY or self._size > _HISTORY_SIZE:
            self._size -= self._history.popleft().size

    def _pass_on(self) -> None:
        """Begin to pass on the next message, on the loop."""
        with self._lock:
            if not self._inbox:
                self._passing_on = False
                return
            message = self._inbox.popleft()
            members = iter(tuple(self._members))
        self._pass_to(message, members)

    def _pass_to(self, message: Message, members: Iterator[Member]) -> None:
        number, close = message.number, message.close
        for count, member in enumerate(members, 1):
            if member.first <= number:
                try:
                    if close is None:
                        # Nothing in between: this is what a broadcast costs for each member.
                        member.write(getattr(message, member.form))
                    else:
                        member.end(*close)
                except Exception:  # the others are to have it
                    log.exception("%r could not be sent a message", member)
            if count == _SLICE:
                self.loop.call_soon(self._pass_to, message, members)
                return
        self.loop.call_soon(self._pass_on)


class Rooms:
    """The rooms of this process that have members, or had some a moment ago.

    Args:
        broker: carries the messages.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._lock = threading.RLock()
        """Guards the rooms, and who is in which; re-entrant, as what allocates may collect."""
        self._rooms: dict[str, Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def members(self, name: str) -> tuple[Member, ...]:
        """Return the members of the group of that name."""
        room = self._rooms.get(name)
        return room.members if room is not None else ()

    def count(self, name: str) -> int:
        """Return how many members the group of that name has."""
        room = self._rooms.get(name)
        return len(room) if room is not None else 0

    def count_sent(self, name: str) -> int:
        """Return how many messages the group of that name has been sent."""
        room = self._rooms.get(name)
        return room.sent if room is not None else 0

    def enter(self, name: str, member: Member, last_event_id: str | None) -> list[Message]:
        """Enter `member` into the room of that name; return what it has missed."""
        with self._lock:
            room = self._rooms.get(name)
            if room is None:
                room = self._rooms[name] = Room(name)
                room.unsubscribe = self.broker.subscribe(name, room.accept)
            return room.enter(member, last_event_id)

    def leave(self, name: str, member: Member) -> None:
        """Remove `member`; without members a room is kept for a while, if it has messages."""
        with self._lock:
            room = self._rooms.get(name)
            if room is None:
                return
            room.remove(member)
            if len(room):
                return
            if not room.has_history:
                self._close(room)
                return
            room.emptied_at = time.monotonic()
            if room.is_lingering:
                return
            room.is_lingering = True
        room.loop.call_soon_threadsafe(self._linger, room, context=contextvars.Context())

    def _linger(self, room: Room) -> None:
        """Close `room` when it has been empty for long enough; on the loop."""
        with self._lock:
            if len(room) or self._rooms.get(room.name) is not room:
                room.is_lingering = False
                return
            left = room.emptied_at + _LINGER - time.monotonic()
            if left <= 0:
                self._close(room)
                return
        room.loop.call_later(left, self._linger, room)

    def _close(self, room: Room) -> None:
        room.unsubscribe()
        del self._rooms[room.name]
