"""Events as they stand in a stream."""

from __future__ import annotations

import pytest

from flask_rawsocket.streams import Event
from flask_rawsocket.streams._event import encode, event_of


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("text", b"data: text\n\n"),
        ("", b"data: \n\n"),
        ("a\nb\r\nc\rd\n", b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"),
        ("a\u2028b", "data: a\u2028b\n\n".encode()),
        ({"a": [1, None]}, b'data: {"a": [1, null]}\n\n'),
        (7, b"data: 7\n\n"),
        (Event("x", event="e", id="i", retry=5), b"event: e\nid: i\nretry: 5\ndata: x\n\n"),
        (Event(retry=5), b"retry: 5\n\n"),
        (Event(id=""), b"id: \n\n"),
    ],
)
def test_encode(item, expected):
    """Each line of the data has a field of its own; whatever is not text is JSON."""
    assert encode(event_of(item)) == expected


@pytest.mark.parametrize(
    "fields", [{"event": "a\nb"}, {"event": "a\r"}, {"id": "a\0"}, {"id": "\n"}, {"retry": -1}]
)
def test_what_is_no_event(fields):
    """A name or an id with a line end would be taken for another field."""
    with pytest.raises(ValueError, match=r"of an Event is one line|in milliseconds"):
        Event("", **fields)


def test_bytes():
    """Events are text."""
    with pytest.raises(TypeError):
        encode(Event(b"bytes"))
