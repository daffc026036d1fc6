"""A request's body as gunicorn reads it, which tells a body that is cut off from a whole one.

gunicorn takes the end of the stream for the end of the body: a view is given half an upload, and
nothing says so (gunicorn issue 3234). RFC 9112, section 8, calls such a request incomplete.
"""

from __future__ import annotations

from typing import Any, Final

from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import (
    ChunkMissingTerminator,
    InvalidChunkExtension,
    InvalidChunkSize,
    NoMoreData,
    ParseException,
)
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException

from .. import _body_errors

__all__ = ["DRAINABLE", "WholeBody", "http_error", "unread"]

DRAINABLE: Final = 65536
"""The bytes of an unread body that gunicorn reads to keep the connection; of more it closes it."""


_MALFORMED: Final = (
    ParseException,
    # Which these are in gunicorn 27 only.
    ChunkMissingTerminator,
    InvalidChunkExtension,
    InvalidChunkSize,
)


class WholeBody(LengthReader):
    """A reader of a body of known length that says when the stream ends before the body."""

    length: int

    def read(self, size: int) -> bytes:
        """Read as ``LengthReader.read`` does.

        Raises:
            NoMoreData: the stream has ended, and the body has not.
        """
        left = self.length
        data: bytes = super().read(size)
        self.length = left - len(data)
        if left and size and not data:
            raise NoMoreData
        return data


def unread(body: Any) -> int:
    """Return how much of `body` has not been read; of a chunked body at least as much as matters.

    Args:
        body: gunicorn's.
    """
    reader = body.reader
    if isinstance(reader, LengthReader):
        length: int = reader.length
        return length + int(body.buf.tell()) if length else 0
    if isinstance(reader, ChunkedReader) and reader.parser is not None:
        return DRAINABLE  # nobody knows how much
    return 0


def http_error(exc: BaseException) -> HTTPException | None:
    """Return what is raised in the view in the place of `exc`, or None where `exc` is right."""
    if isinstance(exc, NoMoreData) or (isinstance(exc, ChunkMissingTerminator) and not exc.term):
        return ClientDisconnected()
    if isinstance(exc, _MALFORMED):
        return BadRequest(str(exc))
    return _body_errors.http_error(exc)
