"""A request and its response as the development server has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from werkzeug.exceptions import HTTPException

from .._body_errors import http_error
from .._connection import exchange
from ..errors import InvalidStateError
from ._body import ChunkedBody

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

    from ._handler import WSGIRequestHandler

__all__ = ["Exchange"]


class Exchange(exchange.Exchange):
    """The request in hand of one handler.

    Args:
        handler: who handles it.
        waits_for_body: whether the client waits to be told that it may send its body.
    """

    __slots__ = ("_handler", "_head", "_length", "_status", "body")

    body: Any
    """The request's body; None until the environ is made."""

    def __init__(self, handler: WSGIRequestHandler, *, waits_for_body: bool) -> None:
        super().__init__()
        self.waits_for_body = waits_for_body
        self.body = None
        self._handler = handler
        self._status: int | None = None
        self._length: int | None = None
        self._head: Any = None

    def ended(self) -> None:
        """The request has ended: refer to its handler no more, which has the socket (a cycle)."""
        del self._handler
        self.body = None

    def noting(self, start_response: StartResponse) -> StartResponse:
        """Return `start_response` such that what it is told is noted here."""

        def starting(status: str, headers: Any, *exc_info: Any) -> Any:
            self._status = int(status.split(None, 1)[0])
            self._length = None
            self._head = status, headers
            for name, value in headers:
                if name.lower() == "content-length":
                    self._length = int(value)
            write = start_response(status, headers, *exc_info)

            def writing(data: bytes) -> object:
                if self.hijacked:
                    raise InvalidStateError("the connection has been hijacked: write to its stream")
                return write(data)

            return writing

        return starting

    def announced_length(self) -> int | None:
        """Return the Content-Length of the application's response; None if it has not said one."""
        return self._length

    def status(self) -> int | None:
        """Return the status of the application's response; None if it has not said one."""
        return self._status

    def sent(self, count: int) -> bool:
        """The response's body has been sent: `count` bytes; say so where its head has said more.

        Returns:
            Whether it has.
        """
        length, handler = self._length, self._handler
        if length is None or count >= length or handler.command == "HEAD":
            return False
        if self._status in exchange.WITHOUT_BODY:
            return False
        text = "the response to %s is shorter than its Content-Length, %d: %d bytes"
        handler.log_error(text, handler.path, length, count)
        return True

    def force_close(self) -> None:
        """Do nothing: this server closes after every response."""

    def version(self) -> str:
        """Return the request's version of HTTP."""
        version: str = self._handler.request_version
        return version

    def let_go(self) -> None:
        """Have the handler end, with a line in the log."""
        self._handler.close_connection = True
        self._handler.log_request(int(self.logged_status.split(None, 1)[0]))
        self._handler.connection.ignore_server()

    def no_response(self) -> NoReturn:
        """Stop Werkzeug, which sends nothing then.

        Raises:
            ConnectionAbortedError: always.
        """
        raise ConnectionAbortedError("the connection has been hijacked")

    def read_failed(self, exc: BaseException) -> Exception | None:
        """Return a 4xx where the client has failed to send its body whole, in time and in form."""
        return exc if isinstance(exc, HTTPException) else http_error(exc)

    def complain(self, text: str, exc: BaseException) -> None:
        """Log that the view of a hijacked connection has failed."""
        self._handler.log_error("%s: %r", text, exc)

    def has_begun(self) -> bool:
        return self._status is not None

    def _catch_head(self, begin: Any) -> Any:
        # Werkzeug's own keeps what it is told, and sends it with the first item of a body.
        begin()
        head, self._head = self._head, None
        self._status = self._length = None
        return head

    def _may_read_yet(self) -> bool:
        return self._status in exchange.STREAM_STATUSES and self._length is None

    def _has_sent_head(self) -> bool:
        return False  # Werkzeug sends it with the first item of the body

    def _is_in_chunked_body(self) -> bool:
        return isinstance(self.body, ChunkedBody) and self.body.is_read_in_part

    def _take_read_ahead(self) -> bytes:
        leading: bytes = self._handler.request_file.take()
        return leading

    def _send(self, data: bytes) -> None:
        self._handler.wfile.write(data)
