"""`WSGIRequestHandler`: a request on the development server, its connection in the environ."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import werkzeug.serving
from werkzeug.sansio.utils import get_content_length

from .. import _wsgi
from .._connection.state import CloseReason, ConnState
from .._sockets.tracked import HeaderTimeoutError
from .._tracking.tracker import guess_reason, process_tracker
from .._wsgi import begin, close
from ..errors import InvalidStateError, UnsupportedError
from ._body import ChunkedBody, RequestBody, RequestFile, WatchedBody

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from .._connection.connection import Connection

__all__ = ["WSGIRequestHandler"]


class WSGIRequestHandler(werkzeug.serving.WSGIRequestHandler):
    """Werkzeug's handler, which puts the connection into the environ."""

    taken = False
    """Whether the view has taken the connection over."""

    _started = False
    """Whether the application has begun its response."""

    _may_stream = False
    """Whether that is one of unknown length, whose application may yet read the request's body."""

    _waits_for_body = False
    """Whether the client waits to be told that it may send its body."""

    @property
    def tracked(self) -> Connection | None:
        """The connection that is being handled; None where `connection` is not a tracked socket."""
        return getattr(self.connection, "connection", None)

    def setup(self) -> None:
        """Read through a file of ours."""
        super().setup()
        if self.tracked is not None:
            self.rfile: Any = RequestFile(self.connection, self.rfile, self._before_read)

    def _before_read(self) -> None:
        """Refuse to read once the connection has been taken; tell a client that waits to send."""
        if self.taken:
            raise InvalidStateError("the connection has been taken over: read from its stream")
        if self._waits_for_body:
            self._answer_continue()

    def _answer_continue(self) -> None:
        self._waits_for_body = False
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def handle(self) -> None:
        """Handle a request; answer 408 to a head that comes too slowly (RFC 9110, 15.5.9)."""
        try:
            super().handle()
        except HeaderTimeoutError as exc:
            connection = self.tracked
            if connection is not None and connection.state is ConnState.ACTIVE:
                self.requestline, self.request_version, self.command = "", "HTTP/1.1", ""
                with contextlib.suppress(OSError):
                    self.send_error(408, explain=str(exc))

    def handle_expect_100(self) -> bool:
        """Answer ``Expect: 100-continue`` only when the application reads the body.

        A view that hijacks wants no answer sent.
        """
        self._waits_for_body = True
        return True

    def run_wsgi(self) -> None:
        """Run the application, which reads the request's body through a file of ours."""
        connection = self.tracked
        if connection is None:
            super().run_wsgi()
            return
        # Werkzeug would answer it at once; http.server has asked us about it before.
        self._waits_for_body |= self.headers.get("Expect", "").strip().lower() == "100-continue"
        del self.headers["Expect"]
        try:
            super().run_wsgi()
        finally:
            process_tracker.request_ended(connection)
            if not self.taken:
                self.connection.request_ended()

    def make_environ(self) -> WSGIEnvironment:
        """Give Werkzeug's environ with the connection in it."""
        connection = self.tracked
        if connection is None:
            return super().make_environ()
        self.connection.head_complete()
        connection._ending = CloseReason.ERROR
        connection._exchange = self
        environ = super().make_environ()
        _wsgi.put(environ, connection)
        self._body = environ["wsgi.input"] = self._request_body(environ)
        environ["wsgi.input_terminated"] = True
        if self._waits_for_body:
            environ["HTTP_EXPECT"] = "100-continue"
        return environ

    def _request_body(self, environ: WSGIEnvironment) -> Any:
        if "wsgi.input_terminated" in environ:
            return ChunkedBody(self.rfile)
        length = get_content_length(
            environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING")
        )
        return RequestBody(self.rfile, length or 0)

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin the response; a client that waits to send its body is not told to any more."""
        self._waits_for_body = False
        super().send_response(code, message)

    def answer(
        self, app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call the application, and watch what becomes of the connection.

        Raises:
            ConnectionAbortedError: it was taken over; Werkzeug stops there, and sends nothing.
        """

        def starting(status: str, headers: Any, *exc_info: Any) -> Any:
            self._started = True
            has_length = any(name.lower() == "content-length" for name, _ in headers)
            self._may_stream = status.startswith("2") and not has_length
            return start_response(status, headers, *exc_info)

        connection: Any = _wsgi.get(environ)
        body: Iterable[bytes] = ()
        try:
            body = app(environ, starting)
            if not (self._started or self.taken):
                body = begin(body)
        except Exception as exc:
            if not self.taken:
                raise
            self.log_error("A view failed that had taken its connection over: %r", exc)
        if not self.taken:
            if self._waits_for_body and self._may_stream:
                # It may read the body amid its response, too late to tell the client.
                self._answer_continue()
            return WatchedBody(body, connection)
        try:
            close(body)
        except Exception as exc:  # noqa: BLE001
            self.log_error("What a view returned that had taken its connection: %r", exc)
        raise ConnectionAbortedError("the connection was taken over")

    def connection_dropped(
        self, error: BaseException, environ: WSGIEnvironment | None = None
    ) -> None:
        """Note that the client has ended the connection, or a view has taken it."""
        connection = self.tracked
        if self.taken:
            self.close_connection = True
            self.log_request(101)
            ignore_server = getattr(self.connection, "ignore_server", None)
            if ignore_server is not None:  # TLS: the socket could not move
                ignore_server()
        elif connection is not None:
            # A view's own error, about another connection, looks the same: ask the kernel.
            connection._ending = guess_reason(connection)
        super().connection_dropped(error, environ)

    # What a Connection asks of the request in hand (`connection.Exchange`)

    def force_close(self) -> None:
        """Do nothing: this server closes after every response."""

    def refusal(self) -> Exception | None:
        """Give the reason why the connection cannot be let go of now, or None."""
        if self.taken or self._started:
            return InvalidStateError("the response has begun: hijack the connection before")
        if self.rfile.reading:
            return InvalidStateError("another thread is reading the request's body")
        if isinstance(self._body, ChunkedBody) and self._body.is_amid:
            return UnsupportedError(
                "a chunked body has been read in part: read it whole, or hijack before"
            )
        return None

    def release(self) -> bytes:
        """Let go of the connection, and give what was read ahead from it."""
        self.taken = True
        leading: bytes = self.rfile.take()
        return leading
