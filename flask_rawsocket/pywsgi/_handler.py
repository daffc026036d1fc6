"""`WSGIHandler`: gevent's handler of one connection, which is put into the environ."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, Final

import gevent.pywsgi

from .. import _wsgi
from .._connection import ending
from .._connection.connection import life_of
from .._connection.exchange import WITHOUT_BODY
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import READ, HeaderTimeoutError, WriteDeadlineError, wait_again
from .._sockets.duties import EMPTY_LINES
from .._sockets.proxied import put_addresses
from .._sockets.proxy_protocol import ProxyForbiddenError, ProxyHeaderError
from .._sockets.request_file import RequestFile
from .._tracking.tracker import process_tracker
from ._exchange import Exchange

if TYPE_CHECKING:
    from .._connection.connection import Connection

__all__ = ["LINGER_TIMEOUT", "WSGIHandler"]

LINGER_TIMEOUT: Final = 2.0
"""The seconds in which a peer is to close after our end."""

_LATE: Final = "408"
_TIMEOUT_RESPONSE: Final = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)
_TOO_LONG: Final = "414"

_PEER_SAID_BYE: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What reading or writing raises when the peer has left, in TLS's words."""


class WSGIHandler(gevent.pywsgi.WSGIHandler):  # type: ignore[misc]
    """A handler of gevent's; its socket may be tracked, or else it is gevent's own."""

    exchange: Exchange | None = None
    """The request in hand, on a tracked connection."""

    socket: Any
    application: Any
    close_connection: bool
    code: Any
    status: Any
    time_finish: float

    _body_sent = 0
    """The bytes of the response's body."""

    def __init__(self, sock: Any, address: Any, server: Any, rfile: Any = None) -> None:
        if rfile is None and getattr(sock, "connection", None) is not None:
            rfile = RequestFile(sock, sock.makefile("rb", -1))
        super().__init__(sock, address, server, rfile)

    @property
    def tracked(self) -> Connection | None:
        """The connection that is being handled; None where it is not tracked."""
        return getattr(self.socket, "connection", None)

    # From one request to the next

    def handle_one_request(self) -> Any:
        """Handle a request; close the connection where it is not kept.

        gevent would close the raw socket, of which nobody hears.
        """
        sock, connection = self.socket, self.tracked
        if connection is None:
            return super().handle_one_request()
        life, keeps = life_of(connection), False
        try:
            try:
                result = self._handle_next(sock, connection)
                keeps = result is True and not life.is_hijacked() and self._await_request(sock)
                if isinstance(result, tuple):
                    self._answer(sock, *result)
            except OSError as exc:
                ending.broke_off(life, exc)
            if not keeps:
                self._linger(sock, connection)
        finally:  # also where this greenlet is killed
            if not keeps:
                self._close(sock, connection)
        return keeps or None

    def _handle_next(self, sock: Any, connection: Connection) -> Any:
        try:
            return super().handle_one_request()
        except HeaderTimeoutError:
            return _LATE, _TIMEOUT_RESPONSE
        except ProxyHeaderError as exc:
            return _refusal(exc)
        finally:
            exchange, self.exchange = self.exchange, None
            if exchange is not None:
                process_tracker.request_ended(connection)
                exchange.ended()
                if not exchange.hijacked:
                    sock.lift_deadlines()
                    wait_again(sock)

    def _answer(self, sock: Any, status: str, response: bytes) -> None:
        """Answer a request that could not be read."""
        life = sock.duties.life if sock.duties is not None else None
        self.status = status
        if life is None or (status == _LATE and life.state is not ConnState.ACTIVE):
            return  # a client that has sent nothing is not answered
        if status == _TOO_LONG:
            ending.note(life, CloseReason.HEAD_TOO_LARGE)
        sock.sendall(response)
        self.time_finish = self.time_finish or time.time()
        self.log_request()

    def _await_request(self, sock: Any) -> bool:
        """The connection is kept: tell whether another request comes in time."""
        life = sock.duties.life
        ending.reset(life)
        sock.await_request()
        ahead = self.rfile.take().lstrip(EMPTY_LINES)
        if ahead:
            self.rfile.put_back(ahead)
            sock.begin_request()
            return True
        if not (life.is_tls and sock.pending()):
            if not sock.is_ready(READ, self.server.keepalive):
                ending.none_came(life)
                return False
            sock.expect_head()  # it may be empty lines, for ever
        return True

    @staticmethod
    def _linger(sock: Any, connection: Connection) -> None:
        """Say FIN, unless it is hijacked, and let the peer read what was sent."""
        duties = sock.duties
        if connection.state is ConnState.ACTIVE and duties and not duties.goodbye_said:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                sock.drop_rest(LINGER_TIMEOUT)

    def _close(self, sock: Any, connection: Connection) -> None:
        """Close the connection, unless it has been hijacked."""
        self.socket = None
        if not life_of(connection).is_hijacked():
            with contextlib.suppress(OSError):
                sock.close()
        self.rfile.close()

    # A request

    def get_environ(self) -> Any:
        """Return gevent's environ with the connection in it."""
        environ: Any = super().get_environ()
        connection = self.tracked
        if connection is None:
            return environ
        self.socket.head_complete()
        expects = environ.get("HTTP_EXPECT", "").strip().lower() == "100-continue"
        exchange = Exchange(self, waits_for_body=expects and self.request_version != "HTTP/1.0")
        life = life_of(connection)
        ending.request_begun(life)
        life.exchange = self.exchange = exchange
        self.wsgi_input.socket = None  # we answer that, when the body is first read
        # gevent's own file, where a client asks for an upgrade, would be read beyond the request.
        environ["wsgi.input"] = self.wsgi_input
        environ["wsgi.input_terminated"] = True
        environ.setdefault("REMOTE_ADDR", str(self.client_address))
        put_addresses(environ, connection.proxy)
        _wsgi.put(environ, connection, exchange)
        if life.force_close or self.server.is_stopping or not self.server.keepalive:
            exchange.force_close()
        return environ

    def run_application(self) -> None:
        """Run the application, which may hijack the connection."""
        connection, exchange = self.tracked, self.exchange
        if connection is None or exchange is None:
            super().run_application()
            return
        life = life_of(connection)
        self._body_sent = 0
        application = self.application
        self.application = lambda environ, start: _wsgi.call(exchange, application, environ, start)
        try:
            super().run_application()
        except OSError as exc:
            self._broken_off(connection, exc)
            raise
        finally:
            self.application = application
            if self.close_connection:
                self.forget_body()
            life.exchange = None if not exchange.hijacked else life.exchange
        if not exchange.hijacked:
            self._note_length(connection, exchange)
            ending.answered(life)

    def _note_length(self, connection: Connection, exchange: Exchange) -> None:
        length = exchange.announced_length()
        if length is None or self._body_sent >= length:
            return
        if self.command == "HEAD" or self.code in WITHOUT_BODY:
            return
        text = "the response to %s is shorter than its Content-Length, %d: %d bytes"
        self.log_error(text, self.path, length, self._body_sent)
        self.close_connection = True
        ending.note(life_of(connection), CloseReason.SHORT_RESPONSE)

    def _broken_off(self, connection: Connection, exc: OSError) -> None:
        """Note why a response broke off.

        Raises:
            BrokenPipeError: it is the peer's doing, or what the application has asked for: gevent
                would log anything else as a failure of the application's.
        """
        self.close_connection = True
        life = life_of(connection)
        if isinstance(exc, _PEER_SAID_BYE):
            ending.note(life, CloseReason.PEER_CLOSED)
        elif isinstance(exc, WriteDeadlineError):
            self.log_error("%r: %s", connection, exc)
        elif not ending.broke_off(life, exc):
            if self.headers_sent:
                ending.cut(life)
            return
        raise BrokenPipeError(errno.EPIPE, str(exc)) from exc

    def forget_body(self) -> None:
        """Read nothing more of the request's body."""
        body = self.wsgi_input
        body.content_length, body.chunked_input = 0, False

    def forget_response(self) -> None:
        """Send nothing, and close nothing."""
        self.headers_sent = True
        self.response_use_chunked = False
        self.close_connection = True

    # A response

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        """Begin the response as gevent does."""
        for name, value in headers:
            if name.lower() == "connection" and "close" in value.lower():
                self.close_connection = True
        write = super().start_response(status, headers, exc_info)
        if self.exchange is not None:
            self.exchange.begun(status, headers)
        return write

    def finalize_headers(self) -> None:
        """Complete the head, which says if the connection is to be closed."""
        super().finalize_headers()
        names = {name.lower() for name, _ in self.response_headers}
        if self.close_connection and self.tracked is not None and b"connection" not in names:
            self.response_headers.append((b"Connection", b"close"))

    def _write(self, data: Any, *args: Any) -> None:
        self._body_sent += len(data)
        super()._write(data, *args)

    # Where something has failed

    def handle_error(self, *exc_info: Any) -> None:
        """Log and answer that the application has failed, as gevent does."""
        if self.tracked is not None and self.headers_sent:
            ending.cut(life_of(self.tracked))
        super().handle_error(*exc_info)

    def _handle_client_error(self, ex: Exception) -> Any:
        if isinstance(ex, HeaderTimeoutError):
            return _LATE, _TIMEOUT_RESPONSE
        if isinstance(ex, ProxyHeaderError):
            return _refusal(ex)
        connection = self.tracked
        if connection is not None:
            life = life_of(connection)
            guess = ending.guess(life)
            has_left = guess.group is CloseReason.CLIENT
            ending.note(life, guess if has_left else CloseReason.BAD_REQUEST)
        return super()._handle_client_error(ex)


def _refusal(exc: ProxyHeaderError) -> tuple[str, bytes]:
    """Return the status and the response to a PROXY protocol header that is not to be."""
    status = "403 Forbidden" if isinstance(exc, ProxyForbiddenError) else "400 Bad Request"
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    return status.split(maxsplit=1)[0], head.encode()
