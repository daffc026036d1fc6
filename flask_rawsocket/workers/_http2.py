"""`HTTP2Worker`: HTTP/2 on the thread worker, as gunicorn serves it; states follow the streams."""

from __future__ import annotations

from typing import Any

from gunicorn.http2.errors import HTTP2ProtocolError

from .._connection import ending, exchange
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import wait_again
from ..errors import UnsupportedError
from ._proxy import note_proxy
from ._sending import SendingWorker

__all__ = ["HTTP2Worker"]


class HTTP2Exchange(exchange.Exchange):
    """The streams of an HTTP/2 connection: none of them can take the connection of all."""

    __slots__ = ("response",)

    def force_close(self) -> None:
        """Refuse: HTTP/2 has no ``Connection`` header (RFC 9113, section 8.2.2)."""
        raise UnsupportedError("close_after_response is not supported on HTTP/2")

    def refusal(self) -> Exception:
        """Return the reason why the server cannot let go of the connection."""
        return UnsupportedError("an HTTP/2 connection is shared by its streams: no hijack")

    def has_begun(self) -> bool:
        return True

    def _unreachable(self, *_: Any) -> Any:
        raise self.refusal()

    let_go = no_response = _may_read_yet = _has_sent_head = _unreachable
    complain: Any = _unreachable
    read_failed: Any = _unreachable
    _is_in_chunked_body = _take_read_ahead = _unreachable
    _send: Any = _unreachable


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
        receive = h2.receive_data

        def receive_data(*args: Any) -> Any:
            if not h2.streams:
                self.tracker.responded(connection)
            try:
                requests = receive(*args)
            except HTTP2ProtocolError:
                ending.note(life, CloseReason.HTTP2_ERROR)
                raise
            if requests or h2.streams:
                self.tracker.received(connection)
            return requests

        h2.receive_data = receive_data
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
        life_of(connection).exchange = HTTP2Exchange()
        if self.is_proxied:
            note_proxy(connection, req)
        try:
            return super().handle_http2_request(req, conn, h2_conn)
        finally:
            self.tracker.request_ended(connection)
            conn.sock.lift_deadlines()
            wait_again(conn.sock)
