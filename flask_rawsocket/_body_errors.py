"""What a view's read of its request's body raises where the body does not come whole.

The servers' own errors would be the application's failure: a 500, and a traceback in the log. The
client has failed, so these are HTTP errors of the 4xx class, and Flask answers with them.
"""

from __future__ import annotations

import errno
import ssl
from typing import Final

from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestTimeout

__all__ = ["PEER_LOST", "ReadDeadlineError", "http_error"]

PEER_LOST: Final = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH})
"""The system has given the peer up; the first looks like a deadline otherwise."""

_CUT: Final = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What a read raises when the peer has left in the middle of the body."""


class ReadDeadlineError(TimeoutError, RequestTimeout):
    """The body did not come before the deadline that `set_deadlines` has set: 408."""

    def __init__(self) -> None:
        RequestTimeout.__init__(self, "The request's body did not come in time.")

    def __str__(self) -> str:
        return "the read deadline has passed"


def http_error(exc: BaseException) -> HTTPException | None:
    """Return what is raised in the view in the place of `exc`, or None where `exc` is right.

    Args:
        exc: what reading the body has raised.
    """
    if isinstance(exc, OSError) and exc.errno in PEER_LOST:
        return ClientDisconnected()
    if isinstance(exc, TimeoutError) and not isinstance(exc, HTTPException):
        return ReadDeadlineError()
    if isinstance(exc, _CUT):
        return ClientDisconnected()
    return None
