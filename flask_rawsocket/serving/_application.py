"""`Application`: the WSGI application as the development server calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _wsgi
from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason
from ._exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from .._connection.life import Life

__all__ = ["Application"]


class Application(_wsgi.Wrapper):
    """Stands where Werkzeug has the application: in ``server.app``.

    Args:
        app: the application, whose attributes are this object's too.
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Call the application; return what is to be sent.

        Raises:
            ConnectionAbortedError: it has hijacked the connection; Werkzeug sends nothing then.
            BaseException: what the application raises, unless nobody can hear of it any more.
        """
        connection = _wsgi.get(environ)
        life = life_of(connection) if connection is not None else None
        exchange = life.exchange if life is not None else None
        if life is None or not isinstance(exchange, Exchange):
            return self._app(environ, start_response)
        body = _wsgi.call(exchange, self._app, environ, exchange.noting(start_response))
        return _Response(body, life, exchange)


class _Response:
    """A response's body, which notes when all of it has been sent, and how much that was."""

    def __init__(self, body: Iterable[bytes], life: Life, exchange: Exchange) -> None:
        self._body = body
        self._life = life
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        count = 0
        began = False
        try:
            for data in self._body:
                began = True
                yield data
                count += len(data)
        except Exception:  # not GeneratorExit: the server could not send what there was
            if began:
                ending.cut(self._life)
            raise
        if self._exchange.sent(count):
            ending.note(self._life, CloseReason.SHORT_RESPONSE)
        ending.answered(self._life)

    def close(self) -> None:
        _wsgi.close(self._body)
