"""`Request`: gunicorn's, which parses nothing again that it has just parsed.

Of a small request parsing is the largest part. A client sends the same head over and over on its
connection, and all clients ask for the same few paths; what gunicorn has made of the same bytes
under the same settings is taken again.
"""

from __future__ import annotations

from typing import Any, Final

from gunicorn.config import Config
from gunicorn.http import message
from gunicorn.http.body import Body, LengthReader

__all__ = ["SEAMS", "Request", "forget"]

_MOST_LINES: Final = 512
"""How many request lines are remembered."""

_LONGEST_LINE: Final = 128
"""The bytes of the longest one."""

_LONGEST_HEAD: Final = 2048
"""The bytes of the longest fields that a connection remembers while it is open."""

_FRAMING: Final = frozenset({"CONTENT-LENGTH", "TRANSFER-ENCODING"})

SEAMS: Final = (
    (message.Message, "parse_headers"),
    (message.Request, "parse_request_line"),
    (message.Message, "set_body_reader"),
)


class _Known:
    """What is known under the present settings; under other ones there is another object."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: dict[bytes, dict[str, Any]] = {}
        """What each request line sets."""


_known = _Known()


def forget() -> None:
    """Parse everything anew: a setting has changed."""
    global _known  # noqa: PLW0603  replaced whole: what another thread is parsing is not kept
    _known = _Known()


class Request(message.Request):
    """Stands where gunicorn makes its requests of HTTP/1, in the worker's process."""

    unreader: Any
    headers: list[tuple[str, str]]

    def parse_request_line(self, line_bytes: bytes) -> None:
        """Parse the request line.

        One with a query is seldom the same twice, and may hold what nobody is to keep.
        """
        lines = _known.lines
        known = lines.get(line_bytes)
        if known is not None:
            vars(self).update(known)
            return
        super().parse_request_line(line_bytes)
        if len(line_bytes) <= _LONGEST_LINE and b"?" not in line_bytes:
            if len(lines) >= _MOST_LINES:
                lines.clear()
            own = vars(self)
            lines[line_bytes] = {name: own[name] for name in _OF_LINE}

    def parse_headers(self, data: bytes, from_trailer: bool = False) -> list[tuple[str, str]]:  # noqa: FBT001, FBT002
        """Parse the fields of the head, or of a trailer.

        What is remembered is the connection's own, and gunicorn keeps its last request as well.
        """
        if from_trailer:
            return list(super().parse_headers(data, from_trailer))
        key = (data, self.method, self.version, _known)
        parsed = getattr(self.unreader, "parsed", None)
        if parsed is not None and parsed[0] == key:
            if parsed[2] is not None:
                vars(self).update(parsed[2])
            return list(parsed[1])
        before = vars(self).copy()
        headers: list[tuple[str, str]] = super().parse_headers(data)
        changed = None
        if vars(self) != before:
            changed = {k: v for k, v in vars(self).items() if k not in before or before[k] != v}
        if len(data) <= _LONGEST_HEAD:
            self.unreader.parsed = key, tuple(headers), changed
        return headers

    def set_body_reader(self) -> None:
        """Make the body: where no field speaks of one, one that is empty."""
        for name, _ in self.headers:
            if name in _FRAMING:
                super().set_body_reader()
                return
        self.body = Body(LengthReader(self.unreader, 0))


def _set_by_line() -> tuple[str, ...]:
    """Return the names of what gunicorn's parsing of a request line sets."""
    probe = message.Request.__new__(message.Request)
    probe.cfg = Config()
    probe.parse_request_line(b"GET / HTTP/1.1")
    return tuple(name for name in vars(probe) if name != "cfg")


_OF_LINE: Final = _set_by_line()
