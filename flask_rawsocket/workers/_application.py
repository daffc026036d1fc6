"""`Application`: the WSGI application as the workers call it, the connection in its environ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gunicorn.http.wsgi import FileWrapper

from .. import _wsgi
from .._connection import ending
from ._exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["Application"]


class Application(_wsgi.Wrapper):
    """Stands where gunicorn has the application: in ``worker.wsgi``.

    Args:
        app: the application, whose attributes are this object's too.
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Call the application; return what is to be sent.

        Raises:
            BaseException: what the application raises, unless nobody can hear of it any more.
        """
        duties = environ["gunicorn.socket"].duties
        connection = duties and duties.connection
        if connection is None:
            return self._app(environ, start_response)
        life = duties.life
        exchange = life.exchange
        _wsgi.put(environ, connection, exchange)
        if not isinstance(exchange, Exchange):  # a stream of HTTP/2
            if exchange is not None:
                _wsgi.read_through(exchange, environ)
            return self._app(environ, start_response)
        exchange.response = start_response.__self__  # type: ignore[attr-defined]
        try:
            body = _wsgi.call(exchange, self._app, environ, exchange.start_response)
            if isinstance(body, FileWrapper):
                exchange.sends_file(body)
            return body
        except StopIteration:
            # How Flask-Sock makes gunicorn forget a response; it is not an error. A thread of
            # simple-websocket's has the socket too, and wakes the view before it answers a goodbye.
            exchange.is_left = True
            ending.app_has_ended(life)
            raise
