"""`HTTP2Worker`: HTTP/2 on the thread worker, as gunicorn serves it; states follow the streams.

gunicorn serves the streams of a connection one after another, on one thread. Nobody reads from the
connection while a view runs, but the view's own thread: where the view asks whether its client is
there, what has come is read, by gunicorn's own means, and kept for later.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gunicorn.http2.errors import HTTP2Error, HTTP2ErrorCode, HTTP2ProtocolError

from .._connection import ending, exchange
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import READ, ready, wait_again
from .._sockets.plain import DONT_WAIT
from ..errors import UnsupportedError
from ._proxy import note_proxy
from ._sending import SendingWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.life import Life

__all__ = ["HTTP2Worker"]

_READS: Final = 16
"""How often what has come is read at most, when a view asks."""

_NOTHING_YET: Final = (BlockingIOError, TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class HTTP2Exchange(exchange.Exchange):
    """A stream of an HTTP/2 connection: it cannot take the connection of all.

    Args:
        h2: gunicorn's connection.
        stream: gunicorn's stream.
        tell: called once it is seen that the peer has reset the stream.
    """

    __slots__ = ("_h2", "_has_left", "_stream", "_tell", "must_be_asked", "response")

    must_be_asked: bool
    """Whether the stream's end is seen where somebody asks: gunicorn keeps requests that come
    meanwhile, which it does from 27.0 on."""

    def __init__(self, h2: Any, stream: Any, tell: Callable[[], object]) -> None:
        super().__init__()
        self._tell = tell
        self._h2 = h2
        self._stream = stream
        self._has_left = False
        self.must_be_asked = hasattr(h2, "pump") and hasattr(h2, "pending_requests")

    def peer_has_left(self) -> bool:
        """Tell whether the peer has reset the stream; in the thread that serves it, read for that.

        Any other thread knows what that one has seen.
        """
        if self.must_be_asked and threading.get_ident() == self.thread:
            self._read_what_has_come()
        # Not its state: that is closed too when the response has ended.
        if getattr(self._stream, "disconnected", False):
            self._note_end()
        return self._has_left

    def _note_end(self) -> None:
        has_known, self._has_left = self._has_left, True
        if not has_known:
            self._tell()

    def _read_what_has_come(self) -> None:
        h2 = self._h2
        try:
            for _ in range(_READS):
                data = None if h2.is_closed else _read_at_once(h2.sock, h2.READ_BUFFER_SIZE)
                if not data:
                    return  # of the connection's end the kernel knows
                h2.pending_requests.extend(h2.receive_data(data))
        except _NOTHING_YET:
            return
        except (OSError, HTTP2Error):
            self._note_end()

    def abort(self) -> bool:
        """Reset the stream; tell whether that has been done: only its own thread can do it."""
        abort = getattr(self._h2, "abort_stream", None)
        if abort is None or threading.get_ident() != self.thread:
            return False
        abort(self._stream.stream_id, HTTP2ErrorCode.CANCEL)
        return True

    def force_close(self) -> None:
        """Do nothing: HTTP/2 says GOAWAY, once the streams that have come are answered."""

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


def _read_at_once(sock: Any, size: int) -> bytes | None:
    """Read what is there; None if that is nothing, or a part of a TLS record."""
    if not ready(sock, READ, 0) and not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
        return None
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        # TLS takes no flags, and a plain socket of ours may wait with a timeout of its own.
        flags = () if isinstance(sock, ssl.SSLSocket) else (DONT_WAIT,)
        data: bytes = sock.recv(size, *flags)
        return data
    finally:
        with contextlib.suppress(OSError):  # it is closed
            sock.settimeout(timeout)


class _Receiving:
    """Stands where a connection of gunicorn's receives, and sees what that says of its state.

    Args:
        worker: whose connection it is.
        connection: ours.
        h2: gunicorn's.
    """

    def __init__(self, worker: HTTP2Worker, connection: Any, h2: Any) -> None:
        self._tracker = worker.tracker
        self._connection = connection
        self._life: Life = life_of(connection)
        self._h2 = h2
        self._receive = h2.receive_data
        self._last = 0
        """The number of the last stream that is served, or will be."""

    def __call__(self, *args: Any) -> Any:
        h2 = self._h2
        if self._is_over() and not args:
            h2.close(last_stream_id=self._last)
            ending.answered(self._life)
            return []
        if not h2.streams:
            self._tracker.responded(self._connection)
        try:
            requests = self._receive(*args)
        except HTTP2ProtocolError:
            ending.note(self._life, CloseReason.HTTP2_ERROR)
            raise
        if requests or h2.streams:
            self._tracker.received(self._connection)
        self._last = max([self._last, *(each.stream.stream_id for each in requests)])
        return requests

    def _is_over(self) -> bool:
        """Tell whether the application wants the connection closed, and all streams are served."""
        is_wanted = self._life.force_close and self._last
        return bool(is_wanted and not getattr(self._h2, "pending_requests", ()))


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
        h2.receive_data = _Receiving(self, connection, h2)
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
