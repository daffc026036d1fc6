"""`ThreadWorker`: gunicorn's ``gthread`` worker, tracked, and sparing with its threads.

A connection is in a pool thread only while there is something to read or a request in hand; what a
pool thread does with it is here. Where it waits meanwhile is in `_parking`.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from typing import Any, Final

from gunicorn.workers import gthread

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import READ, HeaderTimeoutError, ready
from ._common import TrackingWorker
from ._http2 import HTTP2Worker
from ._tconn import Outcome

__all__ = ["ThreadWorker"]

_QUIET: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF})
"""The peer has left, or the application has closed; nothing to log."""


class ThreadWorker(HTTP2Worker):
    """``gunicorn -k flask_rawsocket.Worker``."""

    SEAMS = (
        *TrackingWorker.SEAMS,
        (gthread, "PollableMethodQueue"),
        (gthread, "TConn"),
        (gthread.TConn, "init"),
        (gthread.ThreadWorker, "accept"),
        (gthread.ThreadWorker, "enqueue_req"),
        (gthread.ThreadWorker, "finish_request"),
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
        connection = conn.sock.connection
        ended = connection is None or connection.state is ConnState.CLOSED  # by a stop
        if ended or conn.sock.closes_at_once:  # aborted before its request came
            return self._finish(conn)
        if self.is_tls:
            if not conn.initialized and not self._shake_hands(conn):
                return self._finish(conn)
            if not conn.data_ready:
                return Outcome.WAIT
        return self._serve(conn)

    def _serve(self, conn: Any) -> Outcome:
        sock = conn.sock
        duties = sock.duties
        if self.is_tls and duties.read is None:  # else it runs since the handshake began
            sock.expect_head()
        if conn.pipelined:
            conn.pipelined = False
            sock.begin_request()
        if super().handle(conn):
            sock.await_request()
            return Outcome.KEEP
        life = duties.life
        if life.is_hijacked():
            if life.sock is not None:
                life.sock.hear_server_again()
            return Outcome.FORGET
        if conn.responded:
            # It was to be kept, but the rest of the request's body is too much to read.
            ending.assume(life, CloseReason.AFTER_RESPONSE)
        return self._finish(conn)

    def _shake_hands(self, conn: Any) -> bool:
        """Set up TLS; tell whether there may be a request on it. ``data_ready`` tells if now."""
        try:
            conn.init()
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as exc:
            self.log.debug("TLS handshake broken off: %s", exc)
            return False
        except (ssl.SSLError, HeaderTimeoutError) as exc:
            self.handle_error(None, conn.sock, conn.client, exc)
            return False
        except OSError as exc:
            # There is no TLS to answer in, and in the clear no client would understand it.
            if exc.errno not in _QUIET:
                self.log.error("TLS could not be set up: %s", exc)  # noqa: TRY400
            return False
        except Exception:  # of the setting `ssl_context`, or of a socket class of its own
            self.log.exception("TLS could not be set up")
            return False
        conn.data_ready = bool(conn.sock.pending()) or ready(conn.sock, READ, 0)
        if not conn.data_ready:
            conn.sock.head_complete()
        return True

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
        if not life.is_hijacked():
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
