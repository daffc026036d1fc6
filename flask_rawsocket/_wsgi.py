"""What every server of ours does for a WSGI application.

The connection stands in the environ, and so does a body that cannot be read beside a hijack. A
lazy application is made to begin while its server has not begun to send: one that is a generator
function, or is wrapped in one as by Werkzeug's debugger, calls the view only when its body is first
asked for an item. By then a server is in the middle of its response, and a view could not hijack
the connection cleanly any more.
"""

from __future__ import annotations

import gc
import io
import logging
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from ._connection import observing
from ._connection.connection import life_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication

    from ._connection.connection import Connection
    from ._connection.exchange import Exchange

__all__ = ["KEY", "Wrapper", "begin", "call", "close", "exchange_of", "get", "put", "read_through"]

log = logging.getLogger("flask_rawsocket")

KEY: Final = "rawsocket.connection"
_EXCHANGE: Final = "rawsocket.exchange"


def put(environ: dict[str, Any], connection: Connection, exchange: Exchange | None = None) -> None:
    """Enter the connection and the request in hand, and count the request."""
    connection.requests += 1
    if observing.current is not None:
        observing.current.request_begun(connection)
    environ[KEY] = connection
    environ[_EXCHANGE] = exchange


def get(environ: dict[str, Any]) -> Connection | None:
    """Return the connection that `put` entered into `environ`; None on any other server."""
    return environ.get(KEY)


def exchange_of(environ: dict[str, Any]) -> Exchange | None:
    """Return the request that `put` entered into `environ`."""
    return environ.get(_EXCHANGE)


class Wrapper:
    """What stands where a server has the application.

    Args:
        app: the application, whose attributes are this object's too.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)


def call(
    exchange: Exchange,
    app: WSGIApplication,
    environ: dict[str, Any],
    start_response: StartResponse,
) -> Iterable[bytes]:
    """Call the application, with a body that is read through `exchange`.

    Args:
        exchange: the request in hand.
        app: the application.
        environ: the request's, with the server's ``wsgi.input``.
        start_response: the server's.

    Returns:
        What is to be sent: nothing once the application has hijacked the connection.

    Raises:
        BaseException: what the application raises, unless nobody can hear of it any more.
    """
    read_through(exchange, environ)
    body: Iterable[bytes] = ()
    try:
        body = app(environ, start_response)
        if not (exchange.hijacked or exchange.has_begun()):
            body = begin(body)
    except BaseException as exc:  # noqa: BLE001  raised again, but for what nobody can hear of
        exchange.view_failed(exc)
    if exchange.hijacked:
        _log_dropped(exchange, environ)
        return _dropped(exchange, body)
    if exchange.waits_for_body:
        exchange.before_response()
    return body


def read_through(exchange: Exchange, environ: dict[str, Any]) -> None:
    """Have the body in `environ`, which is the server's, be read through `exchange`."""
    environ["wsgi.input"] = _RequestBody(environ["wsgi.input"], exchange)


def _log_dropped(exchange: Exchange, environ: dict[str, Any]) -> None:
    """The view of a hijacked connection has returned: log what it has thrown away."""
    connection, length = get(environ), exchange.announced_length()
    life = life_of(connection) if connection is not None else None
    has_tls_open = life is not None and life.is_tls and life.is_hijacked()
    _end_failed(exchange)
    if length != 0 and _threw_away(exchange, has_tls_open=has_tls_open):
        log.warning(
            "The view %s has thrown away what hijack() returned, so %r is closed, and nobody gets "
            "the response: keep the stream and write to it, or do not hijack",
            exchange.view or environ.get("PATH_INFO"),
            connection,
        )
    elif length:
        log.debug("%r was hijacked: the view's response, %d bytes, is dropped", connection, length)


def _end_failed(exchange: Exchange) -> None:
    """Collect the stream of a view that has failed: the exception's traceback may hold it.

    They are a cycle, as young as the request, or older if that was long. The client would wait
    until the garbage collector comes by.
    """
    status, stream = exchange.status(), getattr(exchange, "stream", None)
    if stream is None or (status is not None and status < HTTPStatus.BAD_REQUEST):
        return
    for generation in 1, 2:
        if stream() is not None:
            gc.collect(generation)


def _threw_away(exchange: Exchange, *, has_tls_open: bool) -> bool:
    """Tell whether nobody has what the hijack has returned, and nobody has closed it.

    Args:
        exchange: the request whose view has hijacked.
        has_tls_open: whether it is an open connection over TLS, whose socket is forgotten only
            when the server refers to it no more.
    """
    if getattr(exchange, "stream_was_forgotten", False):
        return True
    stream = getattr(exchange, "stream", None)
    return has_tls_open and stream is not None and stream() is None


def _dropped(exchange: Exchange, body: Iterable[bytes]) -> Iterable[bytes]:
    """Close the body that the view of a hijacked connection has returned."""
    try:
        close(body)
    except Exception as exc:  # noqa: BLE001  it is logged
        exchange.complain("What a view returned that had hijacked its connection failed", exc)
    finally:
        # Not before: what is closed may still speak through the stream, on this thread.
        exchange.let_go()
    return exchange.no_response()


def begin(body: Iterable[bytes]) -> Iterable[bytes]:
    """Make the first item of `body`; before that a lazy application calls ``start_response``.

    Args:
        body: what the application has returned.

    Returns:
        The same body, whose first item is there (PEP 3333 allows a server that).
    """
    rest = iter(body)
    first: tuple[bytes, ...] = ()
    try:
        first = (next(rest),)
    except StopIteration:
        pass
    except BaseException:
        close(body)
        raise
    return _BodyWithFirstItem(body, chain(first, rest))


def close(body: Iterable[bytes]) -> None:
    """Close `body`, as a server must at the end, if it can be closed."""
    method = getattr(body, "close", None)
    if method is not None:
        method()


class _BodyWithFirstItem:
    """A body whose first item has been made."""

    def __init__(self, body: Iterable[bytes], items: Iterator[bytes]) -> None:
        self._body = body
        self._items = items

    def __iter__(self) -> Iterator[bytes]:
        return self._items

    def close(self) -> None:
        close(self._body)


class _RequestBody:
    """A request's body, which is the server's own but for who may read it, and when."""

    __slots__ = ("_body", "_exchange")

    def __init__(self, body: Any, exchange: Exchange) -> None:
        self._body = body
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def read(self, *size: int) -> bytes:
        with self._exchange:
            data: bytes = self._body.read(*size)
        return data

    def readinto(self, buffer: Any) -> int:
        with self._exchange:
            if hasattr(self._body, "readinto"):
                count: int = self._body.readinto(buffer)
                return count
            data = self._body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        with self._exchange:
            data: bytes = getattr(self._body, "readall", self._body.read)()
        return data

    def readline(self, *size: int) -> bytes:
        with self._exchange:
            line: bytes = self._body.readline(*size)
        return line

    def readlines(self, _hint: int = -1) -> list[bytes]:
        # Not line by line: if one fails, those before it are lost. PEP 3333 has hints ignored.
        return io.BytesIO(self.read()).readlines()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")
