"""`Application`: the WSGI application as waitress calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _wsgi
from .._tracking.tracker import process_tracker
from .exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["Application"]

_UNIX_PEER = "localhost"
"""What waitress makes the REMOTE_ADDR of every UNIX peer."""


class Application(_wsgi.Wrapper):
    """Stands where waitress has the application, behind its own middleware of proxies.

    Args:
        app: the application, whose attributes are this object's too.
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Call the application; return what is to be sent."""
        connection, exchange = _wsgi.get(environ), _wsgi.exchange_of(environ)
        if connection is None or not isinstance(exchange, Exchange):
            return self._app(environ, start_response)
        if connection.is_unix and process_tracker.settings.unix_remote_addr:
            # A proxy that is trusted has replaced it already.
            if environ.get("REMOTE_ADDR") == _UNIX_PEER:
                environ["REMOTE_ADDR"] = str(connection.key)
            environ["REMOTE_HOST"] = environ["REMOTE_ADDR"]
        return _wsgi.call(exchange, self._app, environ, exchange.noting(start_response))
