"""A request and its response as gevent's server has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException

from .._body_errors import http_error
from .._connection import exchange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._handler import WSGIHandler

__all__ = ["DRAINABLE", "Exchange"]

DRAINABLE: Final = 65536
"""The bytes of an unread body that are read to keep the connection; of more it is closed."""

_NOT_BEGUN: Final = -1
"""gevent's ``Input.chunk_length`` before the first chunk; behind the last one it is 0."""


class Exchange(exchange.Exchange):
    """The request in hand of one handler.

    Args:
        handler: who handles it.
        waits_for_body: whether the client waits to be told that it may send its body.
    """

    __slots__ = ("_handler", "_head")

    def __init__(self, handler: WSGIHandler, *, waits_for_body: bool) -> None:
        super().__init__()
        self.waits_for_body = waits_for_body
        self._handler = handler
        self._head: Any = None

    def ended(self) -> None:
        """The request has ended: refer to its handler no more, which has the socket (a cycle)."""
        del self._handler

    def begun(self, status: str, headers: Any) -> None:
        """The application has begun its response."""
        self._head = status, headers
        if self.unread() >= DRAINABLE or self._handler.server.is_stopping:
            self.force_close()

    def unread(self) -> int:
        """Return how much of the body has not been read; of a chunked one as much as matters."""
        body = self._handler.wsgi_input
        if body.chunked_input:
            return DRAINABLE if body.chunk_length else 0
        return int((body.content_length or 0) - body.position)

    def announced_length(self) -> int | None:
        """Return the Content-Length of the application's response; None if it has not said one."""
        length = self._handler.provided_content_length
        return None if length is None else int(length)

    def force_close(self) -> None:
        """Have the response say ``Connection: close``, and the connection closed after it."""
        self._handler.close_connection = True

    def version(self) -> str:
        """Return the request's version of HTTP."""
        version: str = self._handler.request_version
        return version

    def let_go(self) -> None:
        """Have the handler end, with a line in the log."""
        handler = self._handler
        handler.status = self.logged_status.encode("latin-1")
        handler.forget_response()
        handler.socket.ignore_server()

    def no_response(self) -> Iterable[bytes]:
        """Return an empty body."""
        return ()

    def read_failed(self, exc: BaseException) -> Exception | None:
        """Return a 4xx where the client has failed to send its body whole, in time and in form."""
        error: HTTPException | None = http_error(exc)
        if error is None and _is_of_parser(exc):
            is_cut = self._handler.rfile.at_end  # gevent's errors do not tell
            error = ClientDisconnected() if is_cut else BadRequest(str(exc))
        return error

    def complain(self, text: str, exc: BaseException) -> None:
        """Log that the view of a hijacked connection has failed."""
        self._handler.log_error("%s: %r", text, exc)

    def has_begun(self) -> bool:
        return self._handler.status is not None

    def _catch_head(self, begin: Any) -> Any:
        begin()
        head, self._head = self._head, None
        self._handler.status = self._handler.code = None
        return head

    def _may_read_yet(self) -> bool:
        handler = self._handler
        streams = handler.code in exchange.STREAM_STATUSES
        return streams and handler.provided_content_length is None

    def _has_sent_head(self) -> bool:
        return bool(self._handler.headers_sent)

    def _is_in_chunked_body(self) -> bool:
        body = self._handler.wsgi_input
        return bool(body.chunked_input) and body.chunk_length not in (_NOT_BEGUN, 0)

    def _may_have_lost(self) -> bool:
        # At the end of the stream gevent drops what is less than was asked for.
        return bool(self._handler.wsgi_input.chunked_input or self._handler.rfile.at_end)

    def _take_read_ahead(self) -> bytes:
        self._handler.close_connection = True
        self._handler.forget_body()
        leading: bytes = self._handler.rfile.take()
        return leading

    def _send(self, data: bytes) -> None:
        self._handler.socket.sendall(data)


def _is_of_parser(exc: BaseException) -> bool:
    """Tell whether gevent's parser of bodies has raised `exc`: its errors are no system's."""
    if isinstance(exc, OSError):
        return not isinstance(exc.errno, int)
    return isinstance(exc, ValueError)
