"""Why a connection ends on which gunicorn has found an error."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason
from ._tls_context import TLSSetupError

if TYPE_CHECKING:
    from .._connection.connection import Connection
    from .._connection.life import Life

__all__ = ["has_left", "note_cut", "reason_of", "response_cut"]

_TOO_LARGE: Final = (LimitRequestLine, LimitRequestHeaders)


def reason_of(exc: BaseException, *, in_view: bool) -> CloseReason:
    """Return why a connection ends on which `exc` was raised.

    Args:
        exc: what gunicorn answers with an error of its own.
        in_view: whether a request had been read, and the application was called with it.
    """
    if in_view:
        return CloseReason.VIEW_FAILED
    if isinstance(exc, _TOO_LARGE):
        return CloseReason.HEAD_TOO_LARGE
    # What does not come from its parser is of the uwsgi protocol's, whose errors have another base.
    if isinstance(exc, ParseException) or type(exc).__module__.startswith("gunicorn."):
        return CloseReason.BAD_REQUEST
    if isinstance(exc, TLSSetupError):
        return CloseReason.TLS_NOT_SET_UP
    if isinstance(exc, ssl.SSLError):
        return CloseReason.HANDSHAKE_FAILED
    return CloseReason.SERVER_FAILED


def has_left(life: Life) -> bool:
    """Tell whether the peer is gone."""
    return ending.guess(life).group is CloseReason.CLIENT


def note_cut(life: Life) -> None:
    """A view has failed with an error of its own: note it, if its response had begun."""
    response = getattr(life.exchange, "response", None)
    if response is not None and response.headers_sent:
        ending.cut(life)


def response_cut(connection: Connection | None) -> None:
    """The application has failed in the middle of its response."""
    if connection is not None:
        ending.cut(life_of(connection))
