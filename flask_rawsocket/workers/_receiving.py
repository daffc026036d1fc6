"""`ReceivingWorker`: reads requests until they are whole; no thread waits for a slow peer.

A thread of the pool reads what is there, and leaves the connection to the poller where that is not
enough: a handshake, a head, or a body of which a part is missing. Once it is enough, the thread
serves the request.
"""

from __future__ import annotations

import errno
import math
import ssl
import time
from typing import Any, Final

from gunicorn.http.errors import ParseException
from gunicorn.http2.errors import HTTP2ConnectionError

from .._connection import ending
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import BodyTimeoutError, HeaderTimeoutError
from .._sockets.plain import DONT_WAIT
from .._sockets.proxy_protocol import ProxyHeaderError
from ._exchange import begins_request
from ._failures import PEER_SAID_BYE
from ._incoming import CHUNK, Incoming, Limits, is_whole
from ._polling import SILENT_TIMEOUT, PollingWorker
from ._readiness import WRITING
from ._tconn import Queue, TConn
from ._tls_context import TLSSetupError

__all__ = ["ReceivingWorker"]

_QUIET: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF})
"""The peer has left, or the application has closed; nothing to log."""

_NOTHING_YET: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a read raises that does not wait, where there is nothing to read."""

_OF_PEER: Final = (HeaderTimeoutError, ParseException, ProxyHeaderError)
"""What a peer sends, or does not."""

_CHECK: Final = 1.0
"""The seconds after which what is coming is looked at again: a body's rate, a head's deadline.

Each part that comes begins them anew: a queue is in the order of its timeouts only where all of
them are as long.
"""


class ReceivingWorker(PollingWorker):
    """Takes in what has come on a connection; all of it in the pool but where it is said."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        receive, waited = self.receive, self.close_waiting
        self.pending_conns: Any = Queue(receive, waited, is_for_requests=True)
        self.keepalived_conns: Any = Queue(receive, waited, is_for_requests=True)
        self.handshaking_conns = Queue(receive, self._check_deadline)
        """In the middle of a TLS handshake."""
        self.greeting_conns = Queue(receive, self._check_deadline, WRITING)
        """Likewise, and what we say has no room."""
        self.head_conns = Queue(receive, self._check_deadline)
        """In the middle of a head."""
        self.body_conns = Queue(receive, self._check_rate)
        """In the middle of a body."""
        self._slow_conns = Queue(self._refuse_slow, self._refuse_slow)
        """Whose body comes too slowly; nobody waits in it."""
        self.queues += [self.pending_conns, self.keepalived_conns]
        self.queues += [self.handshaking_conns, self.greeting_conns]
        self.queues += [self.head_conns, self.body_conns]
        self._limits: Limits

    def run(self) -> None:
        """Serve; how much is read ahead say the application and the settings, hooks heard."""
        self._limits = Limits(self.cfg, self.tracker.settings.body_buffer)
        super().run()

    def serve_request(self, conn: TConn) -> None:
        """Serve the request that has come on `conn`, and see to what becomes of it."""
        raise NotImplementedError

    def receive(self, conn: TConn) -> None:
        """Read what has come on `conn`; serve the request if it is whole, else wait on."""
        duties = conn.sock.duties
        # It was closed, by a stop for instance, or aborted before its request came.
        if duties is None or duties.closes_at_once or duties.life.state is ConnState.CLOSED:
            self.finish(conn)
        elif (conn.initialized or self._set_up(conn)) and (conn.is_http2 or self._read(conn)):
            conn.incoming = None
            self.serve_request(conn)

    def _set_up(self, conn: TConn) -> bool:
        """Set up TLS and the parser; tell if there may be a request."""
        try:
            if self.is_tls and not self._shake_hands(conn):
                return False
            conn.init()
        except Exception as exc:  # noqa: BLE001  a socket class may raise anything
            self._failed(conn, exc)
            self.finish(conn)
            return False
        return True

    def _shake_hands(self, conn: TConn) -> bool:
        """Go on with the handshake; tell whether it is done. If not, the poller has `conn`."""
        if not conn.is_wrapped:
            try:
                conn.wrap()
            except BlockingIOError:
                self._wait_on(conn)
                return False
        sock = conn.sock
        duties = sock.duties
        if duties.read is None:
            duties.start_clock()
        duties.read_left()
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self._wait_in_time(conn, self.handshaking_conns)
            return False
        except ssl.SSLWantWriteError:
            self._wait_in_time(conn, self.greeting_conns)
            return False
        self._await_first(conn)
        return True

    def _await_first(self, conn: TConn) -> None:
        """Let `conn` have the time of a new one: what has come before is not of a request."""
        conn.queue = self.pending_conns
        conn.timeout = time.monotonic() + SILENT_TIMEOUT + self.cfg.keepalive

    def _read(self, conn: TConn) -> bool:
        """Read what is there; tell whether a request is whole. If not, `conn` is seen to."""
        try:
            return self._take_in(conn)
        except _NOTHING_YET:
            self._wait_on(conn)
        except (OSError, *_OF_PEER) as exc:
            in_body = conn.incoming is not None and conn.incoming.in_body
            if in_body and isinstance(exc, OSError) and not _is_ours(conn):
                return True  # its view is told, if it reads the body
            self._failed(conn, exc)
            self.finish(conn)
        return False

    def _take_in(self, conn: TConn) -> bool:
        buffer = conn.parser.unreader.buf
        if buffer.tell() and conn.incoming is None:  # read behind the request before
            conn.sock.begin_request()
            if self._is_enough(conn, buffer.getvalue()):
                return True
        while data := self._read_once(conn):
            buffer.write(data)
            if self._is_enough(conn, data):
                return True
        if buffer.tell() and not _is_ours(conn):
            return True  # gunicorn knows what to do with a part of a request
        self.finish(conn)
        return False

    def _read_once(self, conn: TConn) -> bytes:
        sock, incoming = conn.sock, conn.incoming
        duties = sock.duties
        if duties.read is not None:
            duties.read_left()
        size = CHUNK if incoming is None else incoming.wanted
        if self.is_tls:
            sock.settimeout(0)
            data: bytes = sock.recv(size)
            return data
        data = sock.recv(size, DONT_WAIT)
        return data  # noqa: RET504  it is typed

    def _is_enough(self, conn: TConn, data: bytes) -> bool:
        """Tell whether the request is whole by now, `data` being what has come of it since."""
        incoming = conn.incoming
        if incoming is None:
            if self._limits.is_plain and is_whole(data):
                return True
            incoming = conn.incoming = Incoming(self._limits)
        was_in_body = incoming.in_body
        is_enough = incoming.feed(data)
        if incoming.in_body and not was_in_body:
            conn.sock.head_complete()
            conn.body_began = time.monotonic()
        return is_enough

    def _wait_on(self, conn: TConn) -> None:
        """Nothing more is there: leave `conn` to the poller, for as long as it has."""
        incoming, duties = conn.incoming, conn.sock.duties
        if incoming is None and duties is not None and duties.in_proxy_header:
            self._wait_in_time(conn, self.head_conns)
        elif incoming is None:
            self._wait_for_request(conn)
        elif not incoming.in_body:
            self._wait_in_time(conn, self.head_conns)
        elif self._is_too_slow(conn):
            self._refuse_slow(conn)
        else:
            self.park(conn, self.body_conns, _CHECK)

    def _wait_in_time(self, conn: TConn, queue: Queue) -> None:
        """Leave `conn` to the poller until its read deadline, which `_check_deadline` keeps."""
        duties = conn.sock.duties
        read = None if duties is None else duties.read
        left = math.inf if read is None else min(_CHECK, read - time.monotonic())
        self.park(conn, queue, left)

    def _check_deadline(self, conn: TConn) -> None:
        """On the main thread: go on waiting, unless it is over; a thread of the pool says so."""
        duties = conn.sock.duties
        if duties is None or duties.read is None or duties.read <= time.monotonic():
            self.enqueue_req(conn)
        else:
            self._wait_in_time(conn, conn.queue)

    def _wait_for_request(self, conn: TConn) -> None:
        """What made `conn` readable is nothing of a request: wait on, no longer than it had.

        It may be an empty line, a part of a TLS record, or one that carries no data.
        """
        conn.sock.head_complete()  # a handshake has a clock, and a PROXY header
        if conn.queue is self.head_conns:
            self._await_first(conn)  # such a header has come in parts
        left = conn.timeout - time.monotonic()
        if left > 0:
            self.park(conn, conn.queue, left)
        else:
            ending.none_came(conn.sock.duties.life)
            self.close_conn(conn)

    def keep(self, conn: TConn) -> None:
        """Wait for the next request on `conn`.

        It, or its beginning, may have been read already, where the poller would not see it: in
        gunicorn's parser, or in the TLS layer.
        """
        conn.sock.await_request()
        unreader = conn.parser.unreader
        read_ahead = unreader.buf.tell() and begins_request(unreader)
        if read_ahead or (self.is_tls and conn.sock.pending()):
            conn.queue = self.keepalived_conns
            conn.timeout = time.monotonic() + self.cfg.keepalive
            self.enqueue_req(conn)
        else:
            self.park(conn, self.keepalived_conns, self.cfg.keepalive)

    def _check_rate(self, conn: TConn) -> None:
        """On the main thread: go on waiting for a body, unless it comes too slowly."""
        if self._is_too_slow(conn):
            conn.queue = self._slow_conns
            self.enqueue_req(conn)
        else:
            self.park(conn, self.body_conns, _CHECK)

    def _is_too_slow(self, conn: TConn) -> bool:
        settings, incoming = self.tracker.settings, conn.incoming
        rate = settings.min_body_rate
        if incoming is None or not rate:
            return False
        allowed = max(settings.rate_grace, incoming.size / rate)
        return time.monotonic() - conn.body_began > allowed

    def _refuse_slow(self, conn: TConn) -> None:
        connection = conn.sock.connection
        if connection is not None:
            ending.note(conn.sock.duties.life, CloseReason.BODY_TOO_SLOW)
        self._failed(conn, BodyTimeoutError("the body came too slowly"))
        self.finish(conn)

    def _failed(self, conn: TConn, exc: Exception) -> None:
        """Log, and answer if that can be, that a connection failed before its request."""
        duties = conn.sock.duties
        if isinstance(exc, PEER_SAID_BYE):
            self.log.debug("TLS broken off: %s", exc)
        elif isinstance(exc, HTTP2ConnectionError):  # the peer has not waited for our preface
            self.log.debug("HTTP/2 broken off: %s", exc)
            if duties is not None:
                ending.note(duties.life, CloseReason.PEER_CLOSED)
        elif isinstance(exc, (ssl.SSLError, TLSSetupError, *_OF_PEER)):
            self.handle_error(None, conn.sock, conn.client, exc)
        elif not isinstance(exc, OSError):  # of a socket class of the application's, say
            self.log.error("TLS could not be set up", exc_info=exc)
        elif exc.errno not in _QUIET:
            # There may be no TLS to answer in, and in the clear no client would understand it.
            self.log.error("The connection could not be read: %s", exc)


def _is_ours(conn: TConn) -> bool:
    """Tell whether our side has ended `conn`, at a stop: its request is nobody's any more."""
    duties = conn.sock.duties
    return duties is None or duties.goodbye_said
