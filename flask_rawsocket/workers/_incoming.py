"""What has come of a request, and whether that is enough to take a thread for it.

A thread is taken once the head is whole, and as much of the body as is to be read ahead; until then
the bytes wait in the parser's buffer, and the connection in the poller. Nothing is parsed here that
gunicorn's parser does not parse again: what looks wrong is whole, so that gunicorn refuses it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gunicorn.http.errors import (
    InvalidHeader,
    InvalidRequestLine,
    LimitRequestHeaders,
    LimitRequestLine,
)
from gunicorn.http.message import MAX_HEADERS, MAX_REQUEST_LINE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CHUNK",
    "ChunkedBody",
    "Incoming",
    "Limits",
    "is_whole",
    "uwsgi_size",
]

CHUNK: Final = 8192
"""How much of a head is read at once; gunicorn's own number."""

_MOST_AT_ONCE: Final = 262144
"""How much of a body is."""

_END: Final = b"\r\n\r\n"
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_LENGTH: Final = re.compile(rb"\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n")
_CHUNKED: Final = re.compile(rb"\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n")
_HTTP_1_0: Final = b" http/1.0\r\n"
_SIZE: Final = re.compile(rb"[ \t]*([0-9a-f]{1,16})[ \t]*(?:;.*)?\r", re.IGNORECASE)
_LONGEST_LINE: Final = 8190
"""Of a chunk's size and extensions."""

_UNLIMITED_LINE: Final = 1048576
"""The bytes of a request line that has no limit; as those of gunicorn's fast parser."""


class Limits:
    """How much of a request is read ahead at most.

    Args:
        cfg: gunicorn's settings.
        body: the bytes of a body; 0 to read none of it ahead.
    """

    __slots__ = ("body", "head", "is_plain", "line", "protocol")

    def __init__(self, cfg: Any, body: int) -> None:
        self.body = body
        line, fields, size = (
            cfg.limit_request_line,
            cfg.limit_request_fields,
            cfg.limit_request_field_size,
        )
        # 0 is no limit of gunicorn's; then what it takes at most.
        fields = fields if 0 < fields < MAX_HEADERS else MAX_HEADERS
        self.line: int = min(line, MAX_REQUEST_LINE) if line > 0 else _UNLIMITED_LINE
        """The bytes of a request line."""
        self.head = self.line + 2 + fields * ((size or 8190) + 2) + 4
        """The bytes of a head; gunicorn's own limits."""
        self.protocol: str = getattr(cfg, "protocol", "http")
        self.is_plain = self.protocol == "http"
        """Whether a request begins with its request line."""


def is_whole(data: bytes) -> bool:
    """Tell whether `data`, the first that has come, is a head and no body is announced.

    The quick answer, for most requests; False where it takes an `Incoming` to know.
    """
    end = data.find(_END)
    if end < 0:
        return False
    head = data[:end].lower()
    return b"\ncontent-length:" not in head and b"\ntransfer-encoding:" not in head


class Incoming:
    """One request that is on its way.

    Args:
        limits: how much of it is read ahead.
    """

    __slots__ = ("_chunks", "_head", "_left", "_limits", "_seen", "in_body", "size")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._head = bytearray()
        self._seen = 0
        """How much of it has been looked through; a byte at a time it would be quadratic."""
        self._left = 0
        """What is still to come of the body before a thread is taken."""
        self._chunks: ChunkedBody | None = None
        self.in_body = False
        """Whether the head is there."""
        self.size = 0
        """The bytes that have come of the body."""

    @property
    def wanted(self) -> int:
        """How much to read at once: never beyond a body whose length is known."""
        if not self.in_body or self._chunks is not None:
            return CHUNK
        return min(self._left, _MOST_AT_ONCE)

    def feed(self, data: bytes) -> bool:
        """Take what has come next; tell whether a thread is to be taken for the request.

        Raises:
            ParseException: the head will never end, or is too long; some releases of gunicorn would
                read on.
        """
        if self.in_body:
            return self._feed_body(data)
        self._head += data
        if self._limits.protocol == "uwsgi":
            return len(self._head) >= uwsgi_size(self._head)
        start = 0
        # An empty line before the request line, one of which gunicorn ignores.
        while self._head.startswith(b"\r\n", start):
            start += 2
        end = self._head.find(_END, max(start, self._seen - 3))
        if end < 0:
            return self._is_hopeless(start)
        return self._begin_body(bytes(self._head[start : end + 2]).lower(), end + len(_END))

    def _is_hopeless(self, start: int) -> bool:
        """Tell whether gunicorn refuses the head at once, although it has no end so far."""
        head, limits = self._head, self._limits
        bare = _BARE_LF.search(head, max(start, self._seen))
        self._seen = size = len(head)
        line_end = head.find(b"\r\n", start, start + limits.line + 2)
        # RFC 9112, section 2.2: a bare LF does not end a line.
        if line_end < 0:
            if bare is not None:
                raise InvalidRequestLine("bare LF as line terminator")
            if size - start > limits.line + 1:
                raise LimitRequestLine(size - start, limits.line)
            return False
        if bare is not None:
            raise InvalidHeader("bare LF as line terminator")
        if size - start > limits.head:
            raise LimitRequestHeaders("max buffer headers")
        return head.find(b" HTTP/", start, line_end) < 0

    def _begin_body(self, head: bytes, size: int) -> bool:
        body = bytes(self._head[size:])
        self._head.clear()
        limit = self._limits.body
        if not limit or b"\nexpect:" in head or b"\nupgrade:" in head:
            return True  # a client that waits for an answer sends nothing before
        # Any other framing gunicorn refuses, so that it is not waited for, or reads by itself.
        codings, lengths = head.count(b"\ntransfer-encoding:"), head.count(b"\ncontent-length:")
        if codings + lengths != 1:
            return True
        if codings:
            if _CHUNKED.search(head) is None or _HTTP_1_0 in head:
                return True
            self._chunks, self._left = ChunkedBody(), limit
        else:
            length = _LENGTH.search(head)
            if length is None:
                return True
            self._left = min(int(length[1]), limit)
        self.in_body = True
        return self._feed_body(body)

    def _feed_body(self, data: bytes) -> bool:
        self.size += len(data)
        self._left -= len(data)
        if self._chunks is not None and self._chunks.feed(data):
            return True
        return self._left <= 0


class ChunkedBody:
    """Finds the end of a chunked body (RFC 9112, section 7.1)."""

    __slots__ = ("_line", "_next", "_skip")

    def __init__(self) -> None:
        self._skip = 0
        """What is left of a chunk and its CRLF."""
        self._line = bytearray()
        """A line that has not ended."""
        self._next: Callable[[bytes], bool] = self._read_size

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; tell whether the body has ended, or is malformed."""
        position = 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
                continue
            end = data.find(b"\n", position)
            self._line += data[position : end if end >= 0 else len(data)]
            if end < 0:
                return len(self._line) > _LONGEST_LINE
            position = end + 1
            line = bytes(self._line)
            self._line.clear()
            if self._next(line):
                return True
        return False

    def _read_size(self, line: bytes) -> bool:
        found = _SIZE.fullmatch(line)
        if found is None:
            return True
        size = int(found[1], 16)
        if size:
            self._skip = size + 2
        else:
            self._next = self._read_trailer
        return False

    @staticmethod
    def _read_trailer(line: bytes) -> bool:
        return line in (b"", b"\r")


def uwsgi_size(head: bytearray) -> int:
    """Return the size of a uwsgi packet's header and variables, of which 4 bytes say how much.

    See uWSGI's documentation, "The uwsgi protocol".
    """
    return 4 + int.from_bytes(head[1:3], "little")
