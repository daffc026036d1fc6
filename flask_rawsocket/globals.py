"""`current_conn`: the connection of the request that is being handled."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import has_request_context, request
from werkzeug.local import LocalProxy

from . import _wsgi, foreign
from ._connection.asking import ask_by, name_by
from ._tracking.unheard import unheard
from .errors import NoConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from ._connection.connection import Connection
    from ._connection.exchange import Exchange

__all__ = ["ConnectionMiddleware", "current_conn", "find_current_conn", "get_current_conn"]


def get_current_conn() -> Connection:
    """Return the Connection that the current request came in on.

    Raises:
        NoConnectionError: outside of a request, or on a server that does not expose its socket.
    """
    connection = find_current_conn()
    if connection is None:
        raise foreign.no_socket(request.environ)
    return connection


def find_current_conn() -> Connection | None:
    """Return the Connection of the current request; None if its server does not expose its socket.

    Raises:
        NoConnectionError: outside of a request.
    """
    if not has_request_context():
        raise NoConnectionError(
            "There is no connection outside of a request: use current_conn in a view, and pass "
            "the Connection itself to code that outlives the request."
        )
    return _wsgi.get(request.environ) or _enter(request.environ)


def _enter(environ: WSGIEnvironment, *, sees_end: bool = False) -> foreign.ForeignConnection | None:
    """Find the connection of a request on a server that is not ours, and put it into `environ`.

    Args:
        environ: the request's.
        sees_end: whether the caller will tell when the request has ended.
    """
    connection = foreign.find(environ, sees_end=sees_end)
    if connection is not None:
        _wsgi.put(environ, connection)
    # Flask's test client is not a server, and says nothing of one.
    if unheard.may_lack_server and (connection is not None or "SERVER_SOFTWARE" in environ):
        unheard.check_server()
    return connection


class ConnectionMiddleware:
    """A WSGI middleware that puts the connection into the environ, on any server.

    Thereby a request is counted on a server that is not ours, even if no view uses `current_conn`,
    and its end is seen.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Put the connection into `environ`, and call the application."""
        connection = _enter(environ, sees_end=True) if _wsgi.KEY not in environ else None
        if connection is None:
            return self._app(environ, start_response)
        return foreign.serve(connection, self._app, environ, start_response)


current_conn = cast("Connection", LocalProxy(get_current_conn))
"""The Connection that the current request came in on: a proxy, to be used anywhere in a request."""


def _asking_request() -> tuple[Connection, Exchange | None] | None:
    """Return the connection and the request of the current request context."""
    connection = _wsgi.get(request.environ) if has_request_context() else None
    return None if connection is None else (connection, _wsgi.exchange_of(request.environ))


ask_by(_asking_request)


def _view_name() -> str | None:
    """Return the endpoint of the current request context."""
    return request.endpoint if has_request_context() else None


name_by(_view_name)
