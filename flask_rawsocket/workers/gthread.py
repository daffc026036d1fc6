"""`ThreadWorker`: gunicorn's ``gthread`` worker, tracked, and sparing with its threads.

A connection is in a thread of the pool only while there is something to read or a request in hand.
Here a request is served and what becomes of its connection is decided; how it came is in
`_receiving`, the main thread's part in `_polling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gunicorn.workers import gthread

from .._connection import ending, observing
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from . import _http2_streams
from ._common import TrackingWorker
from ._exchange import LEAVE_TIMEOUT, is_left
from ._http2 import HTTP2Worker
from ._leaving import LeavingResponse, rest_of
from ._reasons import response_cut

if TYPE_CHECKING:
    from .._connection.connection import Connection

__all__ = ["ThreadWorker"]


class ThreadWorker(HTTP2Worker):
    """``gunicorn -k flask_rawsocket.Worker``."""

    response_class = LeavingResponse

    SEAMS = (
        *TrackingWorker.SEAMS,
        (gthread, "PollableMethodQueue"),
        (gthread, "TConn"),
        (gthread.TConn, "init"),
        (gthread.ThreadWorker, "accept"),
        (gthread.ThreadWorker, "enqueue_req"),
        (gthread.ThreadWorker, "get_thread_pool"),
        (gthread.ThreadWorker, "handle"),
        (gthread.ThreadWorker, "handle_http2"),
        (gthread.ThreadWorker, "handle_http2_request"),
        (gthread.ThreadWorker, "handle_request"),
        (gthread.ThreadWorker, "murder_keepalived"),
        (gthread.ThreadWorker, "murder_pending"),
        (gthread.ThreadWorker, "set_accept_enabled"),
        (gthread.ThreadWorker, "wait_for_and_dispatch_events"),
        *_http2_streams.SEAMS,
    )

    def serve(self, conn: Any) -> None:
        """Serve `conn`, which is ready for what it waited for, in a thread of the pool."""
        observer = observing.current
        if observer is not None:
            observer.thread_begun()
        try:
            conn.queue.on_ready(conn)
        except BaseException as exc:  # noqa: BLE001  the thread is for other connections too
            self._could_not_serve(conn, exc)
        finally:
            if observer is not None:
                observer.thread_done()

    def _could_not_serve(self, conn: Any, exc: BaseException) -> None:
        try:
            self.log.error("A connection could not be served", exc_info=exc)
            connection = conn.sock.connection
            if connection is not None and connection.state is ConnState.HIJACKED:
                self.forget(conn)
            else:
                self.close_conn(conn)
        except Exception:  # the thread is for other connections too
            self.log.exception("A connection could not be closed")

    def serve_request(self, conn: Any) -> None:
        """Serve the request that has come on `conn`, and see to what becomes of it."""
        conn.responded = False
        life = conn.sock.duties.life
        keeps = self.handle(conn)
        if conn.outgoing is not None:
            self.send_rest(conn, keeps=bool(keeps))
        elif keeps:
            self.keep(conn)
        elif life.is_hijacked():
            if life.sock is not None:
                life.sock.hear_server_again()
            self.forget(conn)
        elif conn.left:
            self.park(conn, self.left_conns, LEAVE_TIMEOUT)
        else:
            if conn.responded:
                # It was to be kept, but the rest of the request's body is too much to read.
                ending.assume(life, CloseReason.RESPONSE_COMPLETE)
            self.finish(conn)

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Serve one request, and note how the connection will have ended if it ends now."""
        connection = self.begin_request(conn.sock, req)
        try:
            keepalive = self._handle_request(req, conn, connection)
        finally:
            can_be_kept = self.end_request(conn.sock, connection)
        if connection is None:
            return keepalive
        conn.responded = True
        keepalive = keepalive and can_be_kept
        life = life_of(connection)
        if conn.outgoing is None and life.state is not ConnState.HIJACKED:
            (ending.reset if keepalive else ending.answered)(life)
        return keepalive

    def _handle_request(self, req: Any, conn: Any, connection: Connection | None) -> bool:
        try:
            keepalive = bool(super().handle_request(req, conn))
        except OSError as exc:
            self.broken_off(connection, exc)
            raise
        except StopIteration:
            response_cut(connection)
            conn.left = connection is not None and is_left(life_of(connection))
            raise
        except Exception:
            raise
        except BaseException as exc:
            raised = self.view_exited(connection, exc)
            if isinstance(raised, StopIteration):
                response_cut(connection)
            raise raised from exc
        if connection is None:
            return keepalive
        conn.outgoing = rest_of(life_of(connection))
        return keepalive and not self.was_short(connection)
