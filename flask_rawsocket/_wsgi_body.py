"""The bodies of a request and of its response, as the development server watches them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from werkzeug.wsgi import LimitedStream

from ._lazy_body import close
from ._state import CloseReason
from .errors import InvalidStateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .connection import Connection
    from .serving import WSGIRequestHandler

__all__ = ["RequestBody", "RequestFile", "WatchedBody"]


class RequestFile:
    """The file that the request's body is read from.

    It answers ``100 Continue`` before it is read for the first time, and refuses to be read once
    the connection has been taken over.
    """

    def __init__(self, handler: WSGIRequestHandler) -> None:
        self._handler = handler
        self.file = handler.rfile

    def __getattr__(self, name: str) -> Any:
        handler = self._handler
        if name in {"close", "closed"}:
            return getattr(self.file, name)
        if handler.taken:
            raise InvalidStateError("the connection has been taken over: read from its stream")
        if handler._waits_for_body:
            handler._waits_for_body = False
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return getattr(self.file, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")


class RequestBody(LimitedStream):
    """A request's body of known length, in which a deadline is not taken for a disconnect."""

    def on_disconnect(self, error: Exception | None = None) -> Any:
        if isinstance(error, TimeoutError):
            raise error
        return super().on_disconnect(error)


class WatchedBody:
    """A response's body, which notes when it has been given out whole."""

    def __init__(self, body: Iterable[bytes], connection: Connection) -> None:
        self._body = body
        self._connection = connection

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body
        self._connection._ending = CloseReason.AFTER_RESPONSE

    def close(self) -> None:
        close(self._body)
