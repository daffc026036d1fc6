"""`switching_protocols`: the head of the answer that comes before another protocol."""

from __future__ import annotations

import pytest

from flask_rawsocket._connection.switching import switching_protocols


def test_switching_protocols():
    """The head of a 101 has the protocol and the fields."""
    assert switching_protocols("h2c", [("A", "1"), ("B", "")]) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"
        b"A: 1\r\nB: \r\n\r\n"
    )
    assert b"Upgrade: irc/6.9\r\n" in switching_protocols("irc/6.9")


@pytest.mark.parametrize(
    ("protocol", "headers"),
    [
        ("web socket", {}),
        ("x\r\nSet-Cookie: a", {}),
        ("ok", {"A b": "1"}),
        ("ok", {"A": "1\r\nB: 2"}),
        ("ok", {"": "1"}),
        ("ok", {"A": "\N{SNOWMAN}"}),
    ],
)
def test_switching_protocols_refuses(protocol, headers):
    """Nothing gets into a head that is no protocol, name or value."""
    with pytest.raises(ValueError, match="RFC 9110"):
        switching_protocols(protocol, headers)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("Upgrade", "Upgrade is made of the protocol"),
        ("connection", "connection is made of the protocol"),
        ("Content-Length", "Content-Length has no place in a 101"),
        ("TRANSFER-ENCODING", "TRANSFER-ENCODING has no place in a 101"),
    ],
)
@pytest.mark.parametrize("kind", [dict, list])
def test_switching_protocols_has_fields_of_its_own(name, match, kind):
    """A field that is there already, or says how long the body is, is refused in any spelling."""
    with pytest.raises(ValueError, match=match):
        switching_protocols("websocket", kind([("A", "1"), (name, "2")]))
