"""What of ours stands in the place of gunicorn's, in a worker's process.

gunicorn finds these by the names of its modules, and has no setting for them. The arbiter has its
own; what the worker's process makes is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gunicorn import http, util
from gunicorn.http import message, parser, wsgi

from . import _request
from ._date import http_date
from ._errors import errors_stream
from ._parser import Parser
from ._trust import is_allowed

if TYPE_CHECKING:
    from ._response import Response

__all__ = ["SEAMS", "take_places"]

_NONE: Any = None

_PLACES: Final = (
    (http, "RequestParser", Parser),
    (message, "_ip_in_allow_list", is_allowed),
    (util, "http_date", http_date),
    (wsgi, "WSGIErrorsWrapper", errors_stream),
)

SEAMS: Final = (
    *((owner, name) for owner, name, _ in _PLACES),
    (wsgi, "Response"),
    (parser.Parser, "finish_body"),
    (parser.Parser, "mesg_class"),
    (wsgi.Response, "close"),
    (wsgi.Response, "write"),
    (wsgi.Response, "write_file"),
    *_request.SEAMS,
)


def take_places(response: type[Response]) -> None:
    """Have gunicorn find ours, in this process.

    Args:
        response: what it makes its responses of.
    """
    for owner, name, ours in (*_PLACES, (wsgi, "Response", response)):
        setattr(owner, name, ours)
