"""The Flask responses of streams, each of which takes its connection over when it begins.

By then the session, cookies and ``after_request`` functions have been applied. Where the connection
cannot be taken the same stream runs on the event loop all the same, and this thread passes on what
it writes.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
from typing import TYPE_CHECKING, Any, Final

from flask import current_app, has_request_context, request
from werkzeug.wsgi import ClosingIterator

from .. import _wsgi
from .._connection.connection import life_of
from .._connection.exchange import WITHOUT_BODY
from .._misuse import name_of
from ..errors import ConnectionClosedError, RawSocketError, UnsupportedError
from ..globals import find_current_conn, get_current_conn
from ._body import Body, EventStream
from ._group import Group
from ._head import head_of
from ._idle import idle_timeout as limit_of
from ._live import loop
from ._stream import End
from ._writers import ThreadWriter

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Iterator
    from types import EllipsisType
    from wsgiref.types import StartResponse, WSGIEnvironment

    from flask import Response

    from .._connection.connection import Connection
    from .._connection.exchange import Exchange
    from ._stream import Stream

__all__ = ["events", "stream", "websocket"]

log = logging.getLogger("flask_rawsocket")

_LOOK: Final = 1.0
"""Seconds between two looks whether the client of a stream that holds a thread is still there."""

_LOOK_OFTEN: Final = 0.1
"""Likewise, where nobody hears of its end who does not look: on HTTP/2."""


def stream(
    source: AsyncIterable[Any], *, idle_timeout: float | EllipsisType | None, **response: Any
) -> Response:
    """See `RawSocket.stream`."""
    body = Body(_checked(source), *_who())
    body.idle_timeout = limit_of(idle_timeout)
    return _respond(body, response)


def events(
    source: AsyncIterable[Any],
    *,
    ping: float | None,
    idle_timeout: float | EllipsisType | None,
    headers: Any = None,
    **response: Any,
) -> Response:
    """See `RawSocket.events`."""
    if ping is not None and ping <= 0:
        raise ValueError(f"ping takes seconds above 0, or None, not {ping!r}")
    who = (*_who(), request.headers.get("Last-Event-ID") or None)
    body = EventStream(_checked(source), ping, *who)
    body.idle_timeout = limit_of(idle_timeout)
    made = _respond(
        body,
        {"content_type": "text/event-stream", "headers": headers, **response},
    )
    # A cached event is an old one; and nginx would send them when its buffer is full.
    made.headers.setdefault("Cache-Control", "no-store")
    made.headers.setdefault("X-Accel-Buffering", "no")
    return made


def websocket(
    handler: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    *,
    idle_timeout: float | EllipsisType | None,
    **options: Any,
) -> Response:
    """See `RawSocket.websocket`."""
    from ._handshake import shake_hands  # noqa: PLC0415  `websockets` is optional
    from ._websocket import WebSocket  # noqa: PLC0415

    connection = get_current_conn()
    exchange = _wsgi.exchange_of(request.environ)
    protocol, headers = shake_hands(request, **options)
    if exchange is None:
        raise UnsupportedError(
            "a WebSocket needs a server of Flask-RawSocket: run the app with "
            "`gunicorn -k flask_rawsocket.Worker` or `flask rawsocket run`"
        )
    refusal = exchange.refusal()
    if refusal is not None:
        raise refusal
    talking = WebSocket(protocol, handler, (args, kwargs), *_who(connection))
    talking.idle_timeout = limit_of(idle_timeout)
    made: Any = _response_class(_base())(status=101, headers=headers)
    made.headers.remove("Content-Type")
    made.streaming = talking
    response: Response = made
    return response


def _checked(source: Any) -> Any:
    if hasattr(source, "__aiter__"):
        return source
    cure = "write an `async def` with `yield`, and pass what it returns"
    if inspect.isasyncgenfunction(source):
        cure = f"call the function: {name_of(source)}(...)"
    elif isinstance(source, Group):
        cure = "pass group.join()"
    raise TypeError(f"{source!r} is not an async generator; {cure}")


def _who(connection: Connection | None = None) -> tuple[Any, ...]:
    """Return the application, and the connection of the request."""
    if not has_request_context():
        raise RuntimeError("a stream answers a request: make it in a view")
    app: Any = current_app
    return app._get_current_object(), connection or find_current_conn()  # noqa: SLF001  documented


def _respond(body: Body, response: dict[str, Any]) -> Response:
    held = _HeldBody(body)
    made: Any = _response_class(_base())(held, **response)
    made.streaming, made.held_body = body, held
    finished: Response = made
    return finished


class _Streaming:
    """What a Flask response class gets in front of it."""

    streaming: Stream
    """What the event loop runs."""

    held_body: _HeldBody | None = None
    """The same as an iterable; None of a WebSocket."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Take the connection over, if it can be; else respond as any other."""
        exchange, connection = _wsgi.exchange_of(environ), _wsgi.get(environ)
        if connection is None or exchange is None or not self._takes_over(environ, exchange):
            response: Iterable[bytes] = super().__call__(  # type: ignore[misc]
                environ, start_response
            )
            return response
        self._take_over(environ, start_response, connection, exchange)
        this: Any = self
        return ClosingIterator((), this.close)

    def _takes_over(self, environ: WSGIEnvironment, exchange: Exchange) -> bool:
        this: Any = self
        if self.held_body is None:
            # The view has been told already where it cannot be; and a handler of after_request may
            # have made another response of it.
            return bool(this.status_code == 101)  # noqa: PLR2004
        has_body = environ["REQUEST_METHOD"] != "HEAD" and this.status_code not in WITHOUT_BODY
        # A compressing after_request function puts something else in the place of the body.
        return has_body and this.response is self.held_body and exchange.refusal() is None

    def _take_over(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        connection: Connection,
        exchange: Exchange,
    ) -> None:
        this: Any = self
        status, headers = this.status, list(this.get_wsgi_headers(environ).items())
        # Whatever wraps start_response is to have its say.
        status, headers = exchange.head_of(start_response, status, headers)
        body, version, chunked = self.held_body, exchange.version(), False
        if body is not None:
            names = {name.lower() for name, _ in headers}
            chunked = version >= "HTTP/1.1" and "content-length" not in names
            body.taken_over(chunked=chunked)
        head = head_of(version, status, headers, chunked=chunked)
        self.streaming.take_over(connection, head)


def _base() -> Any:
    return current_app.response_class


@functools.cache
def _response_class(base: Any) -> Any:
    """Return the application's response class with `_Streaming` in front of it.

    Of any other class Flask would make one of its own (``Response.force_type``).
    """
    return type("StreamingResponse", (_Streaming, base), {"__doc__": "A response that streams."})


class _HeldBody:
    """A body as an iterable: the thread that iterates it is held while the event loop runs it."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._is_done = False

    def taken_over(self, *, chunked: bool) -> None:
        """The connection will be written to by the event loop itself."""
        self._is_done = True
        self._body.chunked = chunked

    def __iter__(self) -> Iterator[bytes]:
        if self._is_done:
            raise RuntimeError("the body of a stream can be sent once")
        self._is_done = True
        running = loop()
        out = ThreadWriter(running, self._body.filled, self._body.emptied)
        # In an empty context, as everywhere: the view's is torn down while this goes on.
        result = contextvars.Context().run(
            asyncio.run_coroutine_threadsafe, self._body.hold(out), running
        )
        must_look = _must_be_asked(self._body.connection)
        try:
            yield b""  # the head does not wait for the first part, nor a test client
            while (data := out.take(_LOOK_OFTEN if must_look else _LOOK)) is not None:
                if data:
                    yield data
                if (must_look or not data) and _is_gone(self._body.connection):
                    return
            if result.result() in (End.FAILED, End.SLOW):
                raise RawSocketError(f"{self._body!r} has ended early: {result.result().name}")
        finally:
            out.leave()
            running.call_soon_threadsafe(self._body.end, End.GONE, context=contextvars.Context())

    def close(self) -> None:
        """Do nothing: what is iterated is closed by itself."""


def _must_be_asked(connection: Connection | None) -> bool:
    exchange = life_of(connection).exchange if connection is not None else None
    return exchange is not None and exchange.must_be_asked


def _is_gone(connection: Connection | None) -> bool:
    try:
        return connection is not None and connection.is_disconnected()
    except ConnectionClosedError:
        return True
