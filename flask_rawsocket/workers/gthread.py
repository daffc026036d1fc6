"""`ThreadWorker`: gunicorn's ``gthread`` worker, tracked, and sparing with its threads.

A connection is in a pool thread only while there is something to read or a request in hand; what a
pool thread does with it is here. The main thread's part is in `_polling`.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from typing import Any, Final

from gunicorn.http.errors import ParseException
from gunicorn.http2.errors import HTTP2ConnectionError
from gunicorn.workers import gthread

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import READ, HeaderTimeoutError, ready
from .._sockets.plain import DONT_WAIT
from ._common import PEER_SAID_BYE, TrackingWorker
from ._exchange import is_left
from ._http2 import HTTP2Worker
from ._pool import SEAMS as POOL_SEAMS
from ._tconn import Outcome
from ._tls_context import TLSSetupError

__all__ = ["ThreadWorker"]

_QUIET: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF})
"""The peer has left, or the application has closed; nothing to log."""


_NOTHING_YET: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a read raises that does not wait, where there is nothing to read."""

_CHUNK: Final = 8192
"""How much is read at once; gunicorn's own number."""


class ThreadWorker(HTTP2Worker):
    """``gunicorn -k flask_rawsocket.Worker``."""

    SEAMS = (
        *TrackingWorker.SEAMS,
        *POOL_SEAMS,
        (gthread, "PollableMethodQueue"),
        (gthread, "TConn"),
        (gthread.TConn, "init"),
        (gthread.ThreadWorker, "accept"),
        (gthread.ThreadWorker, "enqueue_req"),
        (gthread.ThreadWorker, "finish_request"),
        (gthread.ThreadWorker, "get_thread_pool"),
        (gthread.ThreadWorker, "handle"),
        (gthread.ThreadWorker, "handle_request"),
        (gthread.ThreadWorker, "murder_keepalived"),
        (gthread.ThreadWorker, "murder_pending"),
        (gthread.ThreadWorker, "on_client_socket_readable"),
        (gthread.ThreadWorker, "on_pending_socket_readable"),
        (gthread.ThreadWorker, "set_accept_enabled"),
        (gthread.ThreadWorker, "wait_for_and_dispatch_events"),
    )

    def handle(self, conn: Any) -> Any:
        """Serve the connection, which has something to read, and say what is to become of it."""
        conn.responded = False
        duties = conn.sock.duties
        # It was closed, by a stop for instance, or aborted before its request came.
        if duties is None or duties.closes_at_once or duties.life.state is ConnState.CLOSED:
            return self._finish(conn)
        if not conn.initialized and not self._set_up(conn):
            return self._finish(conn)
        if self.is_tls and not conn.data_ready:
            return Outcome.WAIT
        if not conn.is_http2 and (instead := self._begin(conn)) is not None:
            return instead
        return self._serve(conn)

    def _begin(self, conn: Any) -> Outcome | None:
        """Read the first bytes of a request, without waiting for them.

        What has made the connection readable may be none: an empty line, a part of a TLS record,
        or one that carries no data.

        Returns:
            None; or what is to become of the connection, where there is no request.
        """
        sock, unreader = conn.sock, conn.parser.unreader
        try:
            if unreader.buf.tell():
                sock.begin_request()
                return None
            if self.is_proxied:
                sock.duties.keeps_empty_lines = not conn.parser.req_count
            if self.is_tls:
                sock.settimeout(0)
            data = sock.recv(_CHUNK, 0 if self.is_tls else DONT_WAIT)
        except _NOTHING_YET:
            sock.head_complete()  # a handshake has a clock
            return Outcome.BACK
        except (OSError, HeaderTimeoutError) as exc:
            self._failed(conn, exc)
            return self._finish(conn)
        if not data:
            return self._finish(conn)
        unreader.buf.write(data)
        return None

    def _serve(self, conn: Any) -> Outcome:
        life = conn.sock.duties.life
        if super().handle(conn):
            conn.sock.await_request()
            return Outcome.KEEP
        if life.is_hijacked():
            if life.sock is not None:
                life.sock.hear_server_again()
            return Outcome.FORGET
        if conn.left:
            return Outcome.LEFT
        if conn.responded:
            # It was to be kept, but the rest of the request's body is too much to read.
            ending.assume(life, CloseReason.AFTER_RESPONSE)
        return self._finish(conn)

    def _set_up(self, conn: Any) -> bool:
        """Set up the parser, and TLS; tell if there may be a request; ``data_ready``: if now."""
        try:
            conn.init()
        except Exception as exc:  # noqa: BLE001  a socket class may raise anything
            self._failed(conn, exc)
            return False
        if self.is_tls:
            conn.data_ready = bool(conn.sock.pending()) or ready(conn.sock, READ, 0)
            if not conn.data_ready:
                conn.sock.head_complete()
        return True

    def _failed(self, conn: Any, exc: Exception) -> None:
        """Log, and answer if that can be, that a connection failed before its request."""
        if isinstance(exc, PEER_SAID_BYE):
            self.log.debug("TLS broken off: %s", exc)
        elif isinstance(exc, HTTP2ConnectionError):  # the peer has not waited for our preface
            self.log.debug("HTTP/2 broken off: %s", exc)
            duties = conn.sock.duties
            if duties is not None:
                ending.note(duties.life, CloseReason.CLIENT)
        elif isinstance(exc, (ssl.SSLError, HeaderTimeoutError, ParseException, TLSSetupError)):
            self.handle_error(None, conn.sock, conn.client, exc)
        elif not isinstance(exc, OSError):  # of a socket class of the application's, say
            self.log.error("TLS could not be set up", exc_info=exc)
        elif exc.errno not in _QUIET:
            # There may be no TLS to answer in, and in the clear no client would understand it.
            self.log.error("The connection could not be read: %s", exc)

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Serve one request, and note how the connection will have ended if it ends now."""
        connection = self.begin_request(conn.sock, req)
        try:
            keepalive = bool(super().handle_request(req, conn))
            if self.was_short(connection):
                keepalive = False
        except OSError as exc:
            self.broken_off(connection, exc)
            raise
        except StopIteration:
            conn.left = connection is not None and is_left(life_of(connection))
            raise
        except Exception:
            raise
        except BaseException as exc:
            raise self.view_exited(connection, exc) from exc
        finally:
            can_be_kept = self.end_request(conn.sock, connection)
        if connection is None:
            return keepalive
        conn.responded = True
        keepalive = keepalive and can_be_kept
        life = life_of(connection)
        if life.state is not ConnState.HIJACKED:
            (ending.reset if keepalive else ending.answered)(life)
        return keepalive

    def _finish(self, conn: Any) -> Outcome:
        """Begin to close: say FIN, and go on reading in the poller until the peer has said it.

        Where there is no peer to wait for `_linger` finds so. The close is not made here in any
        case: its hooks may take their time, and this thread is for requests.
        """
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        return Outcome.LINGER
