"""What a view's read of its request's body raises where the body does not come whole.

The servers' own errors would be the application's failure: a 500, and a traceback in the log. The
client has failed, so these are HTTP errors of the 4xx class, and Flask answers with them.
"""

from __future__ import annotations

import ssl
from typing import Final

from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestTimeout

from ._connection.ending import PEER_LOST

__all__ = ["ReadDeadlineError", "http_error"]

_CUT: Final = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What a read raises when the peer has left in the middle of the body."""


class ReadDeadlineError(TimeoutError, RequestTimeout):
    """The body did not come before the deadline that a view has set, or too slowly: 408.

    Args:
        text: which of the two it was.
    """

    def __init__(self, text: str) -> None:
        RequestTimeout.__init__(self, "The request's body did not come in time.")
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __reduce__(self) -> tuple[type[ReadDeadlineError], tuple[str]]:
        return type(self), (self._text,)


def http_error(exc: BaseException) -> HTTPException | None:
    """Return what is raised in the view in the place of `exc`, or None where `exc` is right.

    Args:
        exc: what reading the body has raised.
    """
    if isinstance(exc, OSError) and exc.errno in PEER_LOST:  # ETIMEDOUT looks like a deadline
        return ClientDisconnected()
    if isinstance(exc, TimeoutError) and not isinstance(exc, HTTPException):
        return ReadDeadlineError(str(exc))
    if isinstance(exc, _CUT):
        return ClientDisconnected()
    return None
