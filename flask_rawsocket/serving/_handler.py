"""`WSGIRequestHandler`: a request on the development server, its connection in the environ."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, cast

import werkzeug.serving
from werkzeug.sansio.utils import get_content_length

from .. import _wsgi
from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import HeaderTimeoutError, WriteDeadlineError, wait_again
from .._sockets.proxied import put_addresses
from .._sockets.proxy_protocol import ProxyForbiddenError, ProxyHeaderError
from .._sockets.request_file import RequestFile
from .._tracking.tracker import process_tracker
from ._body import ChunkedBody, Leftovers, RequestBody
from ._exchange import Exchange

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

    from .._connection.connection import Connection

__all__ = ["WSGIRequestHandler"]

_TOO_LARGE: Final = frozenset({414, 431})
"""What ``http.server`` answers to a head that is too large."""


class WSGIRequestHandler(werkzeug.serving.WSGIRequestHandler):
    """Werkzeug's handler, which puts the connection into the environ."""

    exchange: Exchange | None = None
    """The request in hand, on a tracked connection."""

    request_file: RequestFile
    """What a request of a tracked connection is read from."""

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
            self.rfile: Any = RequestFile(self.connection, self.rfile)
            self.request_file = self.rfile

    def handle(self) -> None:
        """Handle a request; answer 408 to a head that comes too slowly (RFC 9110, 15.5.9)."""
        try:
            super().handle()
        except HeaderTimeoutError as exc:
            connection = self.tracked
            if connection is not None and connection.state is ConnState.ACTIVE:
                self._refuse(408, exc)
        except ProxyHeaderError as exc:
            self.log("warning", "%r: %s", self.tracked, exc)
            self._refuse(403 if isinstance(exc, ProxyForbiddenError) else 400, exc)

    def _refuse(self, status: int, exc: Exception) -> None:
        """Answer what has not become a request."""
        self.requestline, self.request_version, self.command = "", "HTTP/1.1", ""
        with contextlib.suppress(OSError):
            self.send_error(status, explain=str(exc))

    def handle_expect_100(self) -> bool:
        """Answer ``Expect: 100-continue`` only when the application reads the body.

        A view that hijacks wants no answer sent.
        """
        self._waits_for_body = True
        return True

    def run_wsgi(self) -> None:
        """Run the application, which reads the request's body through a file of ours.

        What Werkzeug reads meanwhile are the leftovers.
        """
        connection = self.tracked
        if connection is None:
            super().run_wsgi()
            return
        # Werkzeug would answer it at once; http.server has asked us about it before.
        expects = self.headers.get("Expect", "").strip().lower() == "100-continue"
        self._waits_for_body |= expects and self.request_version != "HTTP/1.0"
        del self.headers["Expect"]
        self.rfile = Leftovers(self.connection, self.request_file)
        try:
            super().run_wsgi()
        finally:
            self.rfile = self.request_file
            process_tracker.request_ended(connection)
            exchange, self.exchange = self.exchange, None
            if exchange is not None:
                exchange.ended()
                if not exchange.hijacked:
                    self.connection.lift_deadlines()
                    wait_again(self.connection)

    def make_environ(self) -> WSGIEnvironment:
        """Return Werkzeug's environ with the connection in it."""
        connection = self.tracked
        if connection is None:
            return super().make_environ()
        self.connection.head_complete()
        self.exchange = Exchange(self, waits_for_body=self._waits_for_body)
        life = life_of(connection)
        ending.request_begun(life)
        life.exchange = self.exchange
        environ = super().make_environ()
        put_addresses(environ, connection.proxy)
        _wsgi.put(environ, connection, self.exchange)
        self.exchange.body = environ["wsgi.input"] = self._request_body(environ)
        environ["wsgi.input_terminated"] = True
        if self._waits_for_body:
            environ["HTTP_EXPECT"] = "100-continue"
        return environ

    def _request_body(self, environ: WSGIEnvironment) -> Any:
        if "wsgi.input_terminated" in environ:
            return ChunkedBody(self.request_file)
        length = get_content_length(
            environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING")
        )
        return RequestBody(cast("Any", self.request_file), length or 0)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that cannot be parsed, as ``http.server`` does, and note it."""
        connection = self.tracked
        if connection is not None and self.exchange is None:
            life, found = life_of(connection), CloseReason.BAD_REQUEST
            if ending.guess(life).group is CloseReason.CLIENT:
                found = ending.guess(life)  # that is why there is no more of it
            ending.note(life, CloseReason.HEAD_TOO_LARGE if code in _TOO_LARGE else found)
        super().send_error(code, message, explain)

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin the response; a client that waits to send its body is not told to any more."""
        if self.exchange is not None:
            self.exchange.waits_for_body = False
        super().send_response(code, message)

    def connection_dropped(
        self, error: BaseException, environ: WSGIEnvironment | None = None
    ) -> None:
        """Note that the client has ended the connection, unless a view has hijacked it."""
        connection = self.tracked
        if connection is not None and not (self.exchange and self.exchange.hijacked):
            # A view's own error, about another connection, looks the same: ask the kernel.
            life = life_of(connection)
            if isinstance(error, Exception):
                ending.broke_off(life, error)
            if isinstance(error, WriteDeadlineError):
                self.log("info", "%r: %s", connection, error)
        super().connection_dropped(error, environ)
