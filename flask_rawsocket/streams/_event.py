"""`Event`: one Server-Sent Event, and how it stands on the wire.

The format is that of the HTML Living Standard, section 9.2.5 ("Parsing an event stream").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from flask import json

__all__ = ["KEEP_ALIVE", "Event", "encode", "event_of", "text_of"]

_LINE_ENDS: Final = re.compile(r"\r\n|\r|\n")
"""What ends a line of an event stream; ``str.splitlines`` knows more."""

KEEP_ALIVE: Final = b":\n\n"
"""A comment: no client makes an event of it, and no proxy takes the connection for an idle one."""


@dataclass(frozen=True, slots=True)
class Event:
    """A Server-Sent Event.

    Attributes:
        data: a ``str``, or whatever JSON can express; None for an event that only sets `id` or
            `retry`, of which the page does not hear.
        event: the name under which the page listens for it; "message" if there is none.
        id: what a client that reconnects sends as ``Last-Event-ID``.
        retry: how long the client waits before it reconnects, in milliseconds.
    """

    data: Any = None
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("event", self.event), ("id", self.id)):
            if value is not None and (_LINE_ENDS.search(value) or "\0" in value):
                raise ValueError(f"the {name} of an Event is one line without NUL, not {value!r}")
        if self.retry is not None and self.retry < 0:
            raise ValueError(f"retry is in milliseconds, not {self.retry!r}")


def text_of(data: Any) -> str:
    """Return `data` as text: a ``str`` as it is, anything else as JSON.

    Raises:
        TypeError: JSON cannot express it.
    """
    return data if isinstance(data, str) else json.dumps(data)


def event_of(item: Any) -> Event:
    """Return `item` as an Event: one stays what it is, anything else is an event's data."""
    return item if isinstance(item, Event) else Event(item)


def encode(event: Event) -> bytes:
    """Return `event` as it stands in the stream.

    Raises:
        TypeError: its data is bytes, or JSON cannot express it.
    """
    lines = []
    if event.event is not None:
        lines.append(f"event: {event.event}")
    if event.id is not None:
        lines.append(f"id: {event.id}")
    if event.retry is not None:
        lines.append(f"retry: {event.retry:d}")
    if event.data is not None:
        lines += [f"data: {line}" for line in _LINE_ENDS.split(text_of(event.data))]
    return "\n".join([*lines, "", ""]).encode()
