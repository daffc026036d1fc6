"""`Application`: the WSGI application as the workers call it, the connection in its environ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _wsgi
from .._wsgi import begin, close
from ._exchange import HTTP2Exchange

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from .._connection.connection import Connection

__all__ = ["Application"]


class Application:
    """Stands where gunicorn has the application: in ``worker.wsgi``.

    Args:
        app: the application, whose attributes are this object's too.
        log: gunicorn's logger.
    """

    def __init__(self, app: WSGIApplication, log: Any) -> None:
        self._app = app
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Call the application; give what is to be sent, which is nothing once it has taken over.

        Raises:
            BaseException: what the application raises, unless nobody can hear of it any more.
        """
        connection = environ["gunicorn.socket"]._connection
        if connection is None:
            return self._app(environ, start_response)
        _wsgi.put(environ, connection)
        exchange = connection._exchange
        if exchange is None:  # the first stream of an HTTP/2 upgrade in the clear
            exchange = connection._exchange = HTTP2Exchange()
        exchange.start_response = start_response
        body: Iterable[bytes] = ()
        try:
            body = self._app(environ, start_response)
            if not exchange.begun:
                body = begin(body)
        except BaseException as exc:  # noqa: BLE001  raised again, but for what nobody can hear of
            self._failed(connection, exchange, exc)
        if exchange.waits_for_body:
            exchange.before_response()
        return self._dropped(connection, exchange, body) if exchange.taken else body

    def _failed(self, connection: Connection, exchange: Any, exc: BaseException) -> None:
        """Log the failure of a view that had taken its connection over; raise any other's."""
        if exchange.taken:
            if isinstance(exc, Exception):
                self._log.error("A view failed that had taken %r over", connection, exc_info=exc)
                return
            exchange.let_go()
        elif isinstance(exc, StopIteration):
            # How simple-websocket makes gunicorn forget a response; it is no error.
            connection._ending = None
        raise exc

    def _dropped(
        self, connection: Connection, exchange: Any, body: Iterable[bytes]
    ) -> Iterable[bytes]:
        """Close `body`, of which nothing is sent."""
        try:
            close(body)
        except Exception:  # noqa: BLE001
            self._log.exception("What a view returned that had taken %r over", connection)
        finally:
            # Not before: what is closed may still speak through the stream, on this thread.
            exchange.let_go()
        return ()
