"""`ParkingWorker`: the main thread of the thread worker, where connections wait without a thread.

It waits for bytes with the poller that gunicorn has for kept-alive connections. What differs from
gunicorn's own:

- a new connection goes to the poller, not to a thread that waits for its first byte;
- so does a TLS connection whose handshake is done and whose request has not come;
- the lingering close (RFC 9112, section 9.6) waits in the poller as well, not on the main thread;
- `nr_conns` goes down once for each connection, whatever happens to its socket.

No hook runs on the main thread.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from gunicorn.workers import gthread

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from ._common import ACCEPT_PAUSE, TrackingWorker
from ._exchange import LEAVE_TIMEOUT, begins_request
from ._tconn import MethodQueue, Outcome, Queue, TConn, close, close_may_wait, drained

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent import futures

__all__ = ["ParkingWorker"]

LINGER_TIMEOUT: Final = 2.0
"""How long a closed connection may still send, in seconds; as gunicorn's ``close_graceful``."""

SILENT_TIMEOUT: Final = 5.0
"""What a new connection is given beyond `keepalive` for its first byte: gunicorn's own sum."""


class ParkingWorker(TrackingWorker, gthread.ThreadWorker):
    """Accepts, waits, closes; all of it on the main thread, but where it is said."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.method_queue: Any = MethodQueue()
        self.pending_conns: Any = Queue()
        self.keepalived_conns: Any = Queue()
        self.lingering_conns = Queue()
        """Closed on our side, and read until the peer closes too; still counted."""
        self.left_conns = Queue()
        """Left by their view to a thread of its own, which may have a goodbye to say."""
        self._accept_again = 0.0

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """Stop at once; that is, at the main loop's next turn.

        gunicorn raises SystemExit here, wherever the main thread is. Where that was the
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
        if connection is not None and life_of(connection).due_hooks:
            self.tracker.hook_runner.submit(partial(self.tracker.run_hooks, connection))

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
        conn.wait = queue, readable
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
        waiting = self.pending_conns, self.keepalived_conns, self.lingering_conns, self.left_conns
        for queue in waiting:
            if conn in queue:
                queue.remove(conn)
                self.nr_conns -= 1

    def wait_for_and_dispatch_events(self, timeout: Any) -> None:
        """Wait and dispatch as gunicorn does, then end the lingering that has lasted too long."""
        if self.quitting is not None:
            self.quit_now()
        queues = [self.lingering_conns, self.left_conns]
        if not self.alive:
            # gunicorn before 27.0 waits for all of its grace here, even if one times out earlier.
            queues += [self.pending_conns, self.keepalived_conns]
        now = time.monotonic()
        for queue in queues:
            if queue:
                timeout = max(0.0, min(timeout, queue[0].timeout - now))
        super().wait_for_and_dispatch_events(timeout)
        now = time.monotonic()
        while self.left_conns and self.left_conns[0].timeout <= now:
            self._end_left(self.left_conns[0])
        while self.lingering_conns and self.lingering_conns[0].timeout <= now:
            self._end_linger(self.lingering_conns[0])

    def finish_request(self, conn: Any, fs: futures.Future[Any]) -> None:
        """Take a connection back from the pool: keep it, wait for it, let it linger, or be done."""
        failure = None if fs.cancelled() else fs.exception()
        if failure is not None:
            self.log.error("A connection could not be served", exc_info=failure)
        failed = failure is not None or fs.cancelled()
        outcome = Outcome.CLOSE if failed else fs.result()
        if outcome is Outcome.WAIT:
            self._await_first(conn)
        elif outcome is Outcome.BACK:
            self._wait_on(conn)
        elif outcome is Outcome.LINGER:
            self._linger(conn)
        elif outcome is Outcome.LEFT:
            self._park(conn, self.left_conns, LEAVE_TIMEOUT, self._end_left)
        elif outcome is Outcome.KEEP:
            self._keep(conn)
        else:
            self.nr_conns -= 1
            connection = conn.sock.connection
            hijacked = connection is not None and connection.state is ConnState.HIJACKED
            # Still open? Then the thread failed before it could close.
            if outcome is Outcome.CLOSE and not hijacked and conn.sock.fileno() >= 0:
                conn.close()

    def _keep(self, conn: TConn) -> None:
        # The next request, or its beginning, may have been read already, and the poller would not
        # see it: in gunicorn's parser (gunicorn before 27.0 left it there), or in the TLS layer.
        if begins_request(conn.parser.unreader) or (self.is_tls and conn.sock.pending()):
            conn.wait = self.keepalived_conns, self.on_client_socket_readable
            conn.timeout = time.monotonic() + self.cfg.keepalive
            self.enqueue_req(conn)
        else:
            timeout = self.cfg.keepalive
            self._park(conn, self.keepalived_conns, timeout, self.on_client_socket_readable)

    def _wait_on(self, conn: TConn) -> None:
        """Wait on for a request, of which nothing has come, and no longer than it had."""
        left = conn.timeout - time.monotonic()
        if left > 0:
            queue, readable = conn.wait
            self._park(conn, queue, left, readable)
        else:
            self.nr_conns -= 1
            conn.close()

    def _linger(self, conn: TConn) -> None:
        # Most peers have closed by now; if not, the poller tells when they do.
        if conn.sock.closes_at_once or drained(conn):
            self.nr_conns -= 1
            self.close_elsewhere(conn.sock)
        else:
            self._park(conn, self.lingering_conns, LINGER_TIMEOUT, self._on_lingering_readable)

    def _end_left(self, conn: TConn, _sock: object = None) -> None:
        """Say FIN after all: the other thread has had its time, or the peer has an answer."""
        self.left_conns.remove(conn)
        self.poller.unregister(conn.sock)
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        self._linger(conn)

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
        if connection is not None:
            if not self.alive:
                ending.assume(life_of(connection), CloseReason.SHUTDOWN)
            elif connection.state in (ConnState.NEW, ConnState.IDLE):
                ending.assume(life_of(connection), CloseReason.KEEPALIVE_TIMEOUT)
        self.close_elsewhere(conn.sock)

    def close_elsewhere(self, sock: Any) -> None:
        """Close `sock` from the main thread: here if that takes no time, else there.

        It counts until it is closed, so that hooks which cannot keep up slow the accepting down.
        """
        connection = sock.connection
        hooked = connection is not None and self.tracker.has_hooks_of_end(connection)
        if not hooked and not close_may_wait(sock):
            close(sock)
            return
        self.nr_conns += 1
        self.tracker.hook_runner.submit(partial(self._close_counted, sock))

    def _close_counted(self, sock: Any) -> None:
        """In a thread of the runner: close `sock`, and have it counted down."""
        try:
            close(sock)
        finally:
            self.method_queue.defer(self._closed_elsewhere)

    def _closed_elsewhere(self) -> None:
        self.nr_conns -= 1
