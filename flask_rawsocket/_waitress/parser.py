"""What a channel reads into: one request, and behind it bytes as they came.

waitress parses all that it has read, and so would the bytes of a pipelined request be gone when the
request before it hijacks its connection.
"""

from __future__ import annotations

from typing import Any

from waitress.parser import HTTPRequestParser
from waitress.utilities import BadRequest, Error

from .._connection.state import CloseReason
from .._sockets.deadlines import HeaderTimeoutError
from .._sockets.proxy_protocol import ProxyForbiddenError

__all__ = ["UnparsedBytes", "answer_to"]


class UnparsedBytes(HTTPRequestParser):
    """Stands for the next request while one is in hand, and keeps its bytes."""

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.data = b""

    def received(self, data: bytes) -> int:
        """Keep `data`."""
        self.data += data
        return len(data)


class RequestTimeoutError(Error):
    """The answer to a head that came too slowly (RFC 9110, section 15.5.9)."""

    code = 408
    reason = "Request Timeout"


class ForbiddenError(Error):
    """The answer to a peer that may not send a PROXY protocol header."""

    code = 403
    reason = "Forbidden"


def answer_to(exc: Exception) -> tuple[Error, CloseReason]:
    """Return what is answered where no request could be read, and why the connection ends then."""
    if isinstance(exc, HeaderTimeoutError):
        return RequestTimeoutError("the head came too slowly"), CloseReason.HEAD_TOO_SLOW
    refused = ForbiddenError if isinstance(exc, ProxyForbiddenError) else BadRequest
    return refused(str(exc)), CloseReason.BAD_PROXY_HEADER
