"""`FailureWorker`: what is noted, logged and answered where a request fails."""

from __future__ import annotations

import contextlib
import errno
import ssl
from typing import TYPE_CHECKING, Any, Final

from gunicorn import util
from gunicorn.uwsgi.errors import UWSGIParseException
from gunicorn.workers import base

from .._connection import ending
from .._connection.connection import life_of
from .._connection.ending import PEER_LOST
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import HeaderTimeoutError, WriteDeadlineError
from .._sockets.proxy_protocol import ProxyHeaderError
from ._proxy import in_words_of_gunicorn
from ._reasons import has_left, note_cut, reason_of
from ._tls_context import TLSSetupError

if TYPE_CHECKING:
    from .._connection.connection import Connection

__all__ = ["PEER_SAID_BYE", "FailureWorker"]

PEER_SAID_BYE: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What reading or writing raises when the peer has left, in TLS's words."""


class FailureWorker(base.Worker):
    """Comes before a worker class of gunicorn's."""

    @staticmethod
    def was_short(connection: Connection | None) -> bool:
        """Tell whether the response that has ended was shorter than its head said."""
        if connection is None:
            return False
        life = life_of(connection)
        exchange: Any = life.exchange
        if exchange.response is None or not exchange.is_short():
            return False
        ending.note(life, CloseReason.SHORT_RESPONSE)
        return True

    def broken_off(self, connection: Connection | None, exc: OSError) -> None:
        """Note why a request broke off with `exc`.

        Raises:
            BrokenPipeError: the write deadline has passed; gunicorn would log what the application
                asked for as a failure of its own.
            ConnectionResetError: the system has given the peer up; gunicorn would log that, too.
        """
        if connection is None:
            return
        life = life_of(connection)
        if isinstance(exc, PEER_SAID_BYE):
            ending.note(life, CloseReason.PEER_CLOSED)
        elif isinstance(exc, ConnectionError) or exc.errno in PEER_LOST:
            if not ending.broke_off(life, exc):
                note_cut(life)
            elif exc.errno in PEER_LOST:
                raise ConnectionResetError(errno.ECONNRESET, str(exc)) from exc
        elif isinstance(exc, WriteDeadlineError):
            self.log.info("%r: %s", connection, exc)
            raise BrokenPipeError(errno.EPIPE, str(exc)) from exc
        else:
            note_cut(life)

    def view_exited(self, connection: Connection | None, exc: BaseException) -> Exception:
        """Return what to raise for a view's SystemExit and its like, which end no worker here.

        A pool thread would swallow it, and nobody would hear of it.
        """
        exchange = life_of(connection).exchange if connection is not None else None
        response = getattr(exchange, "response", None)
        if response is None or not response.headers_sent:
            return RuntimeError(f"the view raised {exc!r}")
        self.log.error("The view raised %r in the middle of its response", exc, exc_info=exc)
        return StopIteration()  # gunicorn's word for it: close, and answer nothing

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer and log a request that failed, as gunicorn does, whatever the address is.

        A head that came too slowly is answered with 408 (RFC 9110, section 15.5.9). Who sent
        nothing is not answered, nor who would understand nothing, as no TLS could be begun.
        """
        connection = getattr(client, "connection", None)
        if isinstance(exc, HeaderTimeoutError):
            self.log.debug("%s: %s", connection, exc)
            if connection is not None and connection.state is ConnState.ACTIVE:
                _write_timeout(client)
            return
        if isinstance(exc, ProxyHeaderError):
            self._refuse_header(client, addr, exc)
            return
        if connection is not None:
            life = life_of(connection)
            if isinstance(exc, UWSGIParseException) and has_left(life):
                # The end of the stream is no broken packet: over HTTP gunicorn says nothing either.
                self.log.debug("%r: %s", connection, exc)
                ending.note(life, CloseReason.PEER_CLOSED)
                return
            ending.note(life, reason_of(exc, in_view=req is not None))
        if isinstance(exc, TLSSetupError):
            return  # it is in the log
        if isinstance(addr, (str, bytes)):
            # gunicorn takes it apart, and of a UNIX peer's text would log one letter.
            addr = (addr.decode(errors="replace") if isinstance(addr, bytes) else str(addr), -1)
        super().handle_error(req, client, addr, exc)

    def _refuse_header(self, client: Any, addr: Any, exc: ProxyHeaderError) -> None:
        if self.cfg.is_ssl and not isinstance(client, ssl.SSLSocket):
            self.log.warning("%r: %s", client.connection, exc)  # in the clear nobody would listen
        else:
            addr = addr if isinstance(addr, tuple) else (str(addr), -1)
            super().handle_error(None, client, addr, in_words_of_gunicorn(exc, addr[0]))


def _write_timeout(client: Any) -> None:
    # It may be gone, or its TLS was never set up: there is nobody to tell then.
    with contextlib.suppress(OSError):
        util.write_error(client, 408, "Request Timeout", "")
