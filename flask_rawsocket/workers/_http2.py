"""HTTP/2 on the thread worker, as gunicorn serves it; states follow the streams."""

from __future__ import annotations

from functools import partial
from typing import Any

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import ConnState
from .._sockets.deadlines import wait_again
from ._http2_exchange import HTTP2Exchange
from ._http2_streams import Receiving
from ._proxy import note_proxy
from ._sending import SendingWorker

__all__ = ["HTTP2Worker"]


class HTTP2Worker(SendingWorker):
    """The part of our thread worker that is for HTTP/2; all of it runs in a pool thread."""

    def handle_http2(self, conn: Any) -> Any:
        """Serve HTTP/2 until the connection ends, as gunicorn does: on this thread.

        It is ACTIVE while a stream is open, and IDLE while none is.
        """
        sock, h2 = conn.sock, conn.parser
        connection = sock.connection
        if connection is None:
            return super().handle_http2(conn)
        sock.head_complete()
        sock.duties.head_due = False  # a frame is not a request
        sock.duties.proxy_parser = None
        sock.duties.lift_rates()  # a peer may pause each of its streams
        life = life_of(connection)
        h2.receive_data = Receiving(self.tracker, connection, h2)
        result = super().handle_http2(conn)
        idle = life.state in (ConnState.NEW, ConnState.IDLE)
        if idle and sock.fileno() >= 0 and not connection.is_disconnected():
            ending.none_came(life)
        return result

    def handle_http2_request(self, req: Any, conn: Any, h2_conn: Any) -> Any:
        """Serve one stream; its deadlines, its watches and its rights end with it."""
        connection = conn.sock.connection
        if connection is None:
            return super().handle_http2_request(req, conn, h2_conn)
        tell = partial(self.tracker.peer_has_left, connection)
        life_of(connection).exchange = HTTP2Exchange(h2_conn, req.stream, tell)
        if self.is_proxied:
            note_proxy(connection, req)
        try:
            return super().handle_http2_request(req, conn, h2_conn)
        finally:
            self.tracker.request_ended(connection)
            conn.sock.lift_deadlines()
            wait_again(conn.sock)
