"""What of ours stands in the place of gunicorn's, in a worker's process.

gunicorn finds these by the names of its modules, and has no setting for them. The arbiter has its
own; what the worker's process makes is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gunicorn import http, util
from gunicorn.http import message, wsgi
from gunicorn.http import parser as gunicorn_parser

from . import _request
from ._date import http_date
from ._errors import errors_stream
from ._trust import is_allowed

if TYPE_CHECKING:
    from ._parser import Parser
    from ._response import Response

__all__ = ["SEAMS", "take_places"]

_NONE: Any = None

_PLACES: Final = (
    (message, "_ip_in_allow_list", is_allowed),
    (util, "http_date", http_date),
    (wsgi, "WSGIErrorsWrapper", errors_stream),
)

SEAMS: Final = (
    *((owner, name) for owner, name, _ in _PLACES),
    (http, "RequestParser"),
    (wsgi, "Response"),
    (gunicorn_parser.Parser, "finish_body"),
    (gunicorn_parser.Parser, "mesg_class"),
    (wsgi.Response, "close"),
    (wsgi.Response, "write"),
    (wsgi.Response, "write_file"),
    *_request.SEAMS,
)


def take_places(response: type[Response], parser: type[Parser]) -> None:
    """Have gunicorn find ours, in this process.

    Args:
        response: what it makes its responses of.
        parser: and its parsers of HTTP/1.
    """
    made = ((wsgi, "Response", response), (http, "RequestParser", parser))
    for owner, name, ours in (*_PLACES, *made):
        setattr(owner, name, ours)
