"""`FailureHandler`: what is noted, logged and answered where a request fails on gevent's server."""

from __future__ import annotations

import errno
import signal
import ssl
import traceback
from typing import TYPE_CHECKING, Any, Final

import gevent
import gevent.pywsgi

from .._connection import ending
from .._connection.connection import life_of
from .._connection.exchange import WITHOUT_BODY
from .._connection.state import CloseReason
from .._sockets.deadlines import HeaderTimeoutError, WriteDeadlineError
from .._sockets.proxy_protocol import ProxyForbiddenError, ProxyHeaderError
from .._tracking.tracker import process_tracker

if TYPE_CHECKING:
    from .._connection.connection import Connection
    from ._exchange import Exchange

__all__ = ["LATE", "FailureHandler", "exit_of_view", "late"]

LATE: Final = "408"
_TIMEOUT_RESPONSE: Final = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)

_PEER_SAID_BYE: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What reading or writing raises when the peer has left, in TLS's words."""


class FailureHandler(gevent.pywsgi.WSGIHandler):  # type: ignore[misc]
    """Comes before what is done with requests that do not fail."""

    socket: Any
    close_connection: bool
    code: Any
    status: Any

    body_sent = 0
    """The bytes of the response's body."""

    is_killed = False
    """Whether this greenlet is to end at once."""

    @property
    def tracked(self) -> Connection | None:
        """The connection that is being handled; None where it is not tracked."""
        return getattr(self.socket, "connection", None)

    def note_length(self, connection: Connection, exchange: Exchange) -> None:
        """Log a response that is shorter than its head said, and do not keep the connection."""
        length = exchange.announced_length()
        if length is None or self.body_sent >= length:
            return
        if self.command == "HEAD" or self.code in WITHOUT_BODY:
            return
        text = "the response to %s is shorter than its Content-Length, %d: %d bytes"
        self.log_error(text, self.path, length, self.body_sent)
        self.close_connection = True
        ending.note(life_of(connection), CloseReason.SHORT_RESPONSE)

    def broken_off(self, connection: Connection, exc: OSError) -> None:
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

    def handle_error(self, *exc_info: Any) -> None:
        """Log and answer that the application has failed, as gevent does."""
        if self.tracked is not None:
            life = life_of(self.tracked)
            if self.headers_sent:
                ending.cut(life)
            if issubclass(exc_info[0], gevent.GreenletExit):
                self.close_connection = self.is_killed = True
                if self.server.is_stopping:
                    ending.note(life, process_tracker.stop_reason)
        super().handle_error(*exc_info)

    def _handle_client_error(self, ex: Exception) -> Any:
        if isinstance(ex, HeaderTimeoutError):
            return late()
        if isinstance(ex, ProxyHeaderError):
            return self.refuse(ex)
        connection = self.tracked
        if connection is not None:
            life = life_of(connection)
            guess = ending.guess(life)
            has_left = guess.group is CloseReason.CLIENT
            ending.note(life, guess if has_left else CloseReason.BAD_REQUEST)
        return super()._handle_client_error(ex)

    def refuse(self, exc: ProxyHeaderError) -> tuple[str, bytes]:
        """Log a PROXY protocol header that is not to be; return the status and the response."""
        self.log_error("%r: %s", self.tracked, exc)
        status = "403 Forbidden" if isinstance(exc, ProxyForbiddenError) else "400 Bad Request"
        head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        return status.split(maxsplit=1)[0], head.encode()


def exit_of_view(exc: SystemExit) -> BaseException:
    """Return what to raise for a view's SystemExit, by which gevent would end the program.

    One that a signal's handler has raised, in the middle of a view, is meant to do that.
    """
    handlers = [signal.getsignal(each) for each in signal.valid_signals()]
    codes = {getattr(each, "__code__", None) for each in handlers}
    if any(frame.f_code in codes for frame, _ in traceback.walk_tb(exc.__traceback__)):
        return exc
    return RuntimeError(f"the view raised {exc!r}")


def late() -> tuple[str, bytes]:
    """Return the status and the response to a head that came too slowly."""
    return LATE, _TIMEOUT_RESPONSE
