"""`ThreadWorker`: gunicorn's ``gthread`` worker, tracked, and stingy with its threads.

The main thread waits for bytes, with the poller that gunicorn has for kept-alive connections; a
connection is in a pool thread only while there is something to read or a request in hand.  What
differs from gunicorn's own:

- a new connection goes to the poller, not to a thread that waits for its first byte;
- so does a TLS connection whose handshake is done and whose request has not come;
- the lingering close (RFC 9112, section 9.6) waits in the poller as well, not on the main thread;
- `nr_conns` goes down once for each connection, whatever happens to its socket.

No hook runs on the main thread.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import ssl
import time
from concurrent import futures
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from gunicorn.workers import gthread

from .._connection.state import CloseReason, ConnState
from .._sockets.plain import READ, ready
from .._sockets.tracked import HeaderTimeoutError
from ._common import ACCEPT_PAUSE, TrackingWorker, server_done
from ._http2 import HTTP2Worker
from ._tconn import MethodQueue, Next, Queue, TConn, close, drained

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ThreadWorker"]

LINGER_TIMEOUT: Final = 2.0
"""How long a closed connection may still send, in seconds; as gunicorn's ``close_graceful``."""

SILENT_TIMEOUT: Final = 5.0
"""What a new connection is given beyond `keepalive` for its first byte: gunicorn's own sum."""

HOOK_THREADS: Final = 64
"""How many slow hooks may run at once, not counting those in pool threads; begun on demand."""

_QUIET: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF})
"""The peer's going, or the application's close; nothing to log."""


class ThreadWorker(TrackingWorker, HTTP2Worker):
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.method_queue: Any = MethodQueue()
        self.pending_conns: Any = Queue()
        self.keepalived_conns: Any = Queue()
        self.lingering_conns = Queue()
        """Closed on our side, and read until the peer closes too; still counted."""
        self._accept_again = 0.0

    def init_process(self) -> None:
        """Run, with threads for the hooks of connections that no pool thread is serving.

        Not the pool's own: a slow hook of a connection that ends is not to delay requests.
        """
        self.hook_pool = futures.ThreadPoolExecutor(HOOK_THREADS, "rawsocket-hooks")
        super().init_process()

    # On the main thread

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """Stop at once; that is, at the main loop's next turn.

        gunicorn raises SystemExit here, amid whatever the main thread is doing.  Where that was the
        start of a pool's thread, the interpreter waited for that thread when it ended.
        """
        if not self.booted:
            super().handle_quit(sig, frame)
        self.alive = False
        self.quitting = (sig, frame)
        self.method_queue.defer(lambda: None)

    def quit_now(self) -> None:
        """Do what gunicorn does on a QUIT: call ``worker_int``, and leave."""
        if self.quitting is not None:
            super().handle_quit(*self.quitting)

    def set_accept_enabled(self, enabled: bool | None) -> None:  # noqa: FBT001
        """Accept or stop accepting; not yet again while the machine is out of descriptors."""
        if enabled and time.monotonic() < self._accept_again:
            return
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            self._hurry(time.monotonic() + self._last_moment)
            self.stop.begin()

    def _hurry(self, deadline: float) -> None:
        """The worker stops: wait for no request beyond `deadline`, be it a first or a next one.

        gunicorn does so from 27.0 on, for the next ones.
        """
        for queue in (self.pending_conns, self.keepalived_conns):
            for conn in queue:
                conn.timeout = min(conn.timeout, deadline)

    @property
    def _last_moment(self) -> float:
        """How long a request that was on its way may take to come when the worker stops."""
        return min(LINGER_TIMEOUT, float(self.cfg.graceful_timeout) / 2)

    def accept(self, listener: Any) -> None:
        """Accept a connection and let the poller wait for its first byte."""
        try:
            sock, addr = listener.accept()
        except OSError as exc:
            if self.accept_failed(exc):
                self._accept_again = time.monotonic() + ACCEPT_PAUSE
                self.set_accept_enabled(False)
            return
        self.nr_conns += 1
        conn = TConn(self.cfg, sock, cast("Any", addr), listener.getsockname())
        conn.on_close = self._close_waiting
        self._await_first(conn)
        connection = sock.connection
        if connection is not None and connection._calls:
            self._elsewhere(self.tracker.run_hooks, connection)

    def _await_first(self, conn: TConn) -> None:
        timeout = SILENT_TIMEOUT + self.cfg.keepalive
        self._park(conn, self.pending_conns, timeout, self.on_pending_socket_readable)

    def _park(
        self,
        conn: TConn,
        queue: Queue,
        timeout: float,
        readable: Callable[[TConn, socket.socket], object],
    ) -> None:
        """Leave `conn` to the poller: `readable` is called when it is, or `queue` times it out."""
        timeout = timeout if self.alive else min(timeout, self._last_moment)
        conn.timeout = time.monotonic() + timeout
        queue.append(conn)
        callback = partial(self._on_readable, conn, queue, readable)
        try:
            self.poller.register(conn.sock, selectors.EVENT_READ, callback)
        except KeyError:
            self._forget_former(conn.sock.fileno())
            self.poller.register(conn.sock, selectors.EVENT_READ, callback)
        except (OSError, ValueError):  # somebody has closed it
            queue.remove(conn)
            self.nr_conns -= 1

    @staticmethod
    def _on_readable(
        conn: TConn,
        queue: Queue,
        readable: Callable[[TConn, socket.socket], object],
        sock: socket.socket,
    ) -> None:
        # It may have been forgotten since the poller saw it, by an accept in the same batch.
        if conn in queue:
            readable(conn, sock)

    def _forget_former(self, fd: int) -> None:
        """Forget the connection that had `fd` in the poller: the application has closed it there.

        Its descriptor was given out again before we could notice.
        """
        former = self.poller.get_key(fd)
        self.poller.unregister(former.fileobj)
        conn = former.data.args[0]
        for queue in (self.pending_conns, self.keepalived_conns, self.lingering_conns):
            if conn in queue:
                queue.remove(conn)
                self.nr_conns -= 1

    def wait_for_and_dispatch_events(self, timeout: Any) -> None:
        """Wait and dispatch as gunicorn does, then end the lingering that has lasted too long."""
        if self.quitting is not None:
            self.quit_now()
        queues = [self.lingering_conns]
        if not self.alive:
            # gunicorn before 27.0 waits for the whole of its grace here, whoever times out earlier.
            queues += [self.pending_conns, self.keepalived_conns]
        now = time.monotonic()
        for queue in queues:
            if queue:
                timeout = max(0.0, min(timeout, queue[0].timeout - now))
        super().wait_for_and_dispatch_events(timeout)
        now = time.monotonic()
        while self.lingering_conns and self.lingering_conns[0].timeout <= now:
            self._end_linger(self.lingering_conns[0])

    def finish_request(self, conn: Any, fs: futures.Future[Any]) -> None:
        """Take a connection back from the pool: keep it, wait for it, let it linger, or be done."""
        failure = None if fs.cancelled() else fs.exception()
        if failure is not None:
            self.log.error("A connection could not be served", exc_info=failure)
        result = False if failure is not None or fs.cancelled() else fs.result()
        if result is Next.WAIT:
            self._await_first(conn)
        elif result is Next.LINGER:
            self._linger(conn)
        elif result is True:
            self._keep(conn)
        else:
            self.nr_conns -= 1
            connection = conn.sock.connection
            taken = connection is not None and connection.state is ConnState.HIJACKED
            # Still open? Then the thread failed before it could close.
            if result is not Next.FORGET and not taken and conn.sock.fileno() >= 0:
                conn.close()

    def _keep(self, conn: TConn) -> None:
        # The next request, or its beginning, may have been read already, and the poller would not
        # see it: in gunicorn's parser (gunicorn before 27.0 left it there), or in the TLS layer.
        conn.pipelined = bool(conn.parser.unreader.buf.tell())
        if conn.pipelined or (self.is_tls and conn.sock.pending()):
            self.enqueue_req(conn)
        else:
            timeout = self.cfg.keepalive
            self._park(conn, self.keepalived_conns, timeout, self.on_client_socket_readable)

    def _linger(self, conn: TConn) -> None:
        # Most peers have closed by now; if not, the poller tells when they do.
        if conn.sock._closes_at_once or drained(conn):
            self.nr_conns -= 1
            self.close_elsewhere(conn.sock)
        else:
            self._park(conn, self.lingering_conns, LINGER_TIMEOUT, self._on_lingering_readable)

    def _on_lingering_readable(self, conn: TConn, _sock: socket.socket) -> None:
        if drained(conn):
            self._end_linger(conn)

    def _end_linger(self, conn: TConn) -> None:
        self.lingering_conns.remove(conn)
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        self.close_elsewhere(conn.sock)

    def _close_waiting(self, conn: TConn) -> None:
        """Close a connection that gunicorn has waited for long enough."""
        connection = conn.sock.connection
        if connection is not None and connection._ending is None:
            idle = connection.state in (ConnState.NEW, ConnState.IDLE)
            if not self.alive:
                connection._ending = CloseReason.SHUTDOWN
            elif idle:
                connection._ending = CloseReason.KEEPALIVE_TIMEOUT
        self.close_elsewhere(conn.sock)

    def close_elsewhere(self, sock: Any) -> None:
        """Close `sock` from the main thread: here if nothing is hooked on it, else there.

        It counts until it is closed, so that hooks which cannot keep up slow the accepting down.
        """
        connection = sock.connection
        if connection is None or not (
            connection._calls or self.tracker.has_hooks(ConnState.CLOSED)
        ):
            close(sock)
            return
        closing = self._elsewhere(close, sock)
        if closing is not None:
            self.nr_conns += 1
            closing.add_done_callback(lambda _: self.method_queue.defer(self._closed_elsewhere))

    def _closed_elsewhere(self) -> None:
        self.nr_conns -= 1

    def _elsewhere(self, call: Callable[[Any], object], what: Any) -> futures.Future[Any] | None:
        """Have hooks run by `call(what)` off this thread; None if that could not be."""
        try:
            return self.hook_pool.submit(call, what)
        except RuntimeError:  # the interpreter ends, or there is no thread to be had
            call(what)
            return None

    # In a pool thread

    def handle(self, conn: Any) -> Any:
        """Serve the connection, which has something to read, and say what is to become of it."""
        conn.responded = False
        connection = conn.sock._connection
        ended = connection is not None and connection._state is ConnState.CLOSED  # by a stop
        if ended or conn.sock._closes_at_once:  # aborted before its request came
            return self._finish(conn)
        if self.is_tls:
            if not conn.initialized and not self._shake_hands(conn):
                return self._finish(conn)
            if not conn.data_ready:
                return Next.WAIT
        return self._serve(conn)

    def _serve(self, conn: Any) -> Any:
        sock = conn.sock
        if self.is_tls and sock._read_deadline is None:  # else it runs since the handshake began
            sock.expect_head()
        if conn.pipelined:
            conn.pipelined = False
            sock.request_begun()
        connection = sock._connection
        if super().handle(conn):
            sock.await_request()
            return True
        if connection is not None and connection._state is ConnState.HIJACKED:
            server_done(connection)
            return Next.FORGET
        if conn.responded and connection is not None and connection._ending is None:
            # It was to be kept, but the rest of the request's body is too much to read.
            connection._ending = CloseReason.AFTER_RESPONSE
        return self._finish(conn)

    def _shake_hands(self, conn: Any) -> bool:
        """Set up TLS; tell whether there may be a request on it.  ``data_ready`` tells if now."""
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
        except OSError as exc:
            self.broken_off(connection, exc)
            raise
        except Exception:
            raise
        except BaseException as exc:
            raise self.view_exited(connection, exc) from exc
        finally:
            can_be_kept = self.end_request(connection)
        if connection is None:
            return keepalive
        conn.responded = True
        keepalive = keepalive and can_be_kept
        if connection._state is not ConnState.HIJACKED:
            connection._ending = None if keepalive else CloseReason.AFTER_RESPONSE
        return keepalive

    def _finish(self, conn: Any) -> Next:
        """Begin to close: say FIN, and go on reading in the poller until the peer has said it.

        Where there is no peer to wait for `_linger` finds so.  The close is not made here in any
        case: its hooks may take their time, and this thread is for requests.
        """
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        return Next.LINGER
