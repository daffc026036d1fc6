"""`WSGIHandler`: gevent's handler of one connection, which is put into the environ."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from .. import _wsgi
from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import READ, HeaderTimeoutError, wait_again
from .._sockets.duties import EMPTY_LINES
from .._sockets.proxied import put_addresses
from .._sockets.proxy_protocol import ProxyHeaderError
from .._sockets.request_file import RequestFile
from .._tracking.tracker import process_tracker
from ._exchange import Exchange
from ._failures import LATE, FailureHandler, exit_of_view, late

if TYPE_CHECKING:
    from .._connection.connection import Connection

__all__ = ["LINGER_TIMEOUT", "WSGIHandler"]

LINGER_TIMEOUT: Final = 2.0
"""The seconds in which a peer is to close after our end."""

_TOO_LONG: Final = "414"


class WSGIHandler(FailureHandler):
    """A handler of gevent's; its socket may be tracked, or else it is gevent's own."""

    exchange: Exchange | None = None
    """The request in hand, on a tracked connection."""

    application: Any
    time_finish: float

    def __init__(self, sock: Any, address: Any, server: Any, rfile: Any = None) -> None:
        if rfile is None and getattr(sock, "connection", None) is not None:
            rfile = RequestFile(sock, sock.makefile("rb", -1))
        super().__init__(sock, address, server, rfile)

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
            if not (keeps or self.is_killed):
                self._linger(sock, connection)
        finally:  # also where this greenlet is killed while it waits
            if not keeps:
                self._close(sock, connection)
        return keeps or None

    def _handle_next(self, sock: Any, connection: Connection) -> Any:
        try:
            return super().handle_one_request()
        except HeaderTimeoutError:
            return late()
        except ProxyHeaderError as exc:
            return self.refuse(exc)
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
        if life is None or (status == LATE and life.state is not ConnState.ACTIVE):
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
        self.body_sent = 0
        application = self.application
        self.application = lambda environ, start: _wsgi.call(exchange, application, environ, start)
        try:
            super().run_application()
        except OSError as exc:
            self.broken_off(connection, exc)
            raise
        except SystemExit as exc:
            raise exit_of_view(exc) from None
        finally:
            self.application = application
            if self.close_connection:
                self.forget_body()
            life.exchange = None if not exchange.hijacked else life.exchange
        if not exchange.hijacked:
            self.note_length(connection, exchange)
            ending.answered(life)

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
        self.body_sent += len(data)
        super()._write(data, *args)
