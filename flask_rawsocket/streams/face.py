"""`Streams`: the methods of `flask_rawsocket.RawSocket` that make streams.

What they need of asyncio is imported when the first one is made: most processes never need it.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Sequence
    from types import EllipsisType

    from flask import Response

    from ._group import Group
    from ._room import Rooms

    _P = ParamSpec("_P")
    _R = TypeVar("_R")

__all__ = ["Streams"]

_PING: float = 15.0
_MAX_MESSAGE_SIZE: int = 2**20


class Streams:
    """What a view may return while no thread is held."""

    @staticmethod
    def stream(
        source: AsyncIterable[bytes | str],
        *,
        idle_timeout: float | EllipsisType | None = ...,
        **response: Any,
    ) -> Response:
        """Return a response whose body an async generator makes, on the event loop.

        It is a Flask response: the status, headers, cookies and session are applied, and
        ``after_request`` functions run. Then the connection is taken over and the thread is free.
        The generator runs in an empty context: give it what it needs. Where the connection cannot
        be taken, as with HTTP/2, a thread is held.

        When the client leaves, what the generator waits for is cancelled and its ``finally`` runs.
        It is asked for its next part when the client has read on; if that takes longer than 60 s,
        the client is dropped. After the body the connection is closed.

        Args:
            source: an async iterable of ``bytes`` or ``str``.
            idle_timeout: the seconds after which a generator that yields nothing is ended, and its
                body cut off; None for never, by default ``RAWSOCKET_STREAM_IDLE_TIMEOUT``.
            response: ``status``, ``headers``, ``mimetype`` and ``content_type``, as for a
                ``flask.Response``.

        Raises:
            TypeError: `source` is not an async iterable.
            ValueError: a time is not above 0.
            RuntimeError: outside of a request.
        """
        from ._response import stream  # noqa: PLC0415

        return stream(source, idle_timeout=idle_timeout, **response)

    @staticmethod
    def events(
        source: AsyncIterable[Any],
        *,
        ping: float | None = _PING,
        idle_timeout: float | EllipsisType | None = ...,
        **response: Any,
    ) -> Response:
        """Return a response of Server-Sent Events (``text/event-stream``).

        As `stream`, and: comments are sent as pings, so that proxies keep the connection and a
        client that is gone is noticed. When the server stops the stream ends properly, and its
        client is told to reconnect after 1 to 5 s.

        Args:
            source: what `Group.join` returns; or an async iterable of `Event`, ``str`` or what JSON
                can express.
            ping: the seconds between two pings; None for none.
            idle_timeout: the seconds after which a stream without events is ended properly, so that
                its client may reconnect; None for never, by default
                ``RAWSOCKET_STREAM_IDLE_TIMEOUT``.
            response: ``status`` and ``headers``, as for a ``flask.Response``.

        Raises:
            TypeError: `source` is not an async iterable.
            ValueError: a time is not above 0.
            RuntimeError: outside of a request.
        """
        from ._response import events  # noqa: PLC0415

        return events(source, ping=ping, idle_timeout=idle_timeout, **response)

    @staticmethod
    def websocket(
        handler: Callable[..., Any],
        *args: Any,
        subprotocols: Sequence[str] = (),
        max_message_size: int | None = _MAX_MESSAGE_SIZE,
        compression: bool = True,
        origins: Iterable[str] | None = None,
        idle_timeout: float | EllipsisType | None = ...,
    ) -> Response:
        """Answer a WebSocket handshake, and have `handler` talk, on the event loop.

        The view's route has ``websocket=True``. The peer is sent a ping every 20 s and dropped if
        nothing comes back in 20 s. The socket is closed when `handler` returns, with 1011 when it
        fails, and with 1012 when the server stops.

        Args:
            handler: ``await handler(ws, *args)`` is called with a `streams.WebSocket`.
            args: passed on.
            subprotocols: those there are, the best one first.
            max_message_size: in bytes, after decompression; None for no limit.
            compression: whether to agree to permessage-deflate, without context takeover.
            origins: the origins whose pages may connect, or ``"*"`` among them for any; by default
                those of the request's own host.
            idle_timeout: the seconds after which a WebSocket without messages of either side is
                closed with 1001; None for never, by default ``RAWSOCKET_STREAM_IDLE_TIMEOUT``.

        Raises:
            werkzeug.exceptions.HTTPException: the handshake is not valid (400, 405, 426, 505), or
                not from an origin that is allowed (403).
            UnsupportedError: the connection cannot be taken over: HTTP/2, or a server that is not
                one of this package's.
            NoConnectionError: the server does not show its socket.
            RuntimeError: the extra ``websocket`` is not installed.
            TypeError: `handler` is a plain function.
        """
        options: dict[str, Any] = {"compression": compression, "origins": origins}
        options |= {"max_message_size": max_message_size, "subprotocols": subprotocols}
        options["idle_timeout"] = idle_timeout
        return _websocket(handler, args, {}, **options)

    @staticmethod
    def websocket_view(handler: Any = None, /, **options: Any) -> Any:
        """Make a view of a WebSocket handler; a decorator, with or without options.

        ::

            @app.route("/echo/<room>", websocket=True)
            @rawsocket.websocket_view
            async def echo(ws, room):
                async for message in ws:
                    await ws.send(message)

        Args:
            handler: what `websocket` takes, called with the variables of the route.
            options: those of `websocket`.
        """
        if handler is None:
            return functools.partial(Streams.websocket_view, **options)
        options = {
            "subprotocols": (),
            "max_message_size": _MAX_MESSAGE_SIZE,
            "compression": True,
            "origins": None,
            "idle_timeout": ...,
            **options,
        }

        @functools.wraps(handler)
        def view(**variables: Any) -> Response:
            return _websocket(handler, (), variables, **options)

        # Flask would run a coroutine function in a loop of its own, and looks at what is wrapped.
        del view.__wrapped__
        return view

    def group(self, name: str) -> Group:
        """Return the group of that name, which is there while it has members.

        Args:
            name: any; groups of two `RawSocket` objects are different ones.
        """
        from ._group import Group  # noqa: PLC0415

        return Group(name, self._rooms)

    @functools.cached_property
    def _rooms(self) -> Rooms:
        from ._broker import LocalBroker  # noqa: PLC0415
        from ._room import Rooms  # noqa: PLC0415

        return Rooms(LocalBroker())

    @staticmethod
    async def in_thread(function: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call `function` in a thread, and wait for it while the event loop goes on.

        For a stream's generator or handler: a call that blocks, such as one of a database, would
        stop every stream. It is made in the context of the stream's application, which is torn down
        after it; at most 32 are made at once.

        Args:
            function: called with the arguments.
            args: passed on.
            kwargs: passed on.

        Returns:
            What it returns.

        Raises:
            BaseException: what it raises.
        """
        from ._in_thread import in_thread  # noqa: PLC0415

        return await in_thread(function, *args, **kwargs)


def _websocket(
    handler: Callable[..., Any], args: Any, kwargs: dict[str, Any], **options: Any
) -> Response:
    # Of a plain function a loop would never wait, and so stop all streams.
    is_plain = inspect.isroutine(handler) and not inspect.iscoroutinefunction(handler)
    if is_plain or not callable(handler):
        raise TypeError(f"{handler!r} is not a handler, which is a coroutine function: async def")
    from ._response import websocket  # noqa: PLC0415

    return websocket(handler, args, kwargs, **options)
