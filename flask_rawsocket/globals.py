"""`current_conn`: the connection of the request that is being handled."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import has_request_context, request
from werkzeug.local import LocalProxy

from . import _environ, foreign
from .errors import NoConnectionError

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["current_conn", "get_current_conn"]


def get_current_conn() -> Connection:
    """Give the Connection that the current request came in on.

    Raises:
        NoConnectionError: outside of a request, or on a server that shows no socket.
    """
    if not has_request_context():
        raise NoConnectionError(
            "There is no connection outside of a request: use current_conn in a view, and hand "
            "the Connection itself to whatever outlives the request."
        )
    environ = request.environ
    connection = _environ.get(environ)
    if connection is None:
        connection = foreign.find(environ)
        if connection is None:
            raise NoConnectionError(
                "This request's server shows no socket (Flask's test client has none): run the "
                "app with `gunicorn -k flask_rawsocket.Worker` or `flask rawsocket run`."
            )
        _environ.put(environ, connection)
    return connection


current_conn = cast("Connection", LocalProxy(get_current_conn))
"""The Connection that the current request came in on: a proxy, to import once and use anywhere."""
