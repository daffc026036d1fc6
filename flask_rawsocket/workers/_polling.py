"""`PollingWorker`: the main thread of the thread worker: it accepts, waits, and hands out.

It waits for bytes with the poller that gunicorn has for kept-alive connections. What differs from
gunicorn's own:

- a new connection goes to the poller, not to a thread that waits for its first byte;
- so does a TLS connection whose handshake is done and whose request has not come;
- the lingering close (RFC 9112, section 9.6) waits in the poller as well, not on the main thread;
- `nr_conns` goes down once for each connection, whatever happens to its socket.

No hook runs on the main thread.
"""

from __future__ import annotations

import selectors
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from .._connection.state import ConnState
from ._closing import ClosingWorker
from ._common import ACCEPT_PAUSE
from ._exchange import LEAVE_TIMEOUT, begins_request
from ._tconn import Outcome, TConn

if TYPE_CHECKING:
    from concurrent import futures

__all__ = ["PollingWorker"]

SILENT_TIMEOUT: Final = 5.0
"""What a new connection is given beyond `keepalive` for its first byte: gunicorn's own sum."""


class PollingWorker(ClosingWorker):
    """Accepts connections and takes them back from the pool; all of it on the main thread."""

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
            self._let_go()
            self._hurry(time.monotonic() + self.last_moment)
            self.stop.begin()

    def _let_go(self) -> None:
        """The worker stops: take in what nobody else would accept, and close the listeners."""
        watched = self.listeners.watched
        if watched is not None:
            if watched not in self.poller.get_map():
                self.poller.register(watched, selectors.EVENT_READ, self._on_arbiter_stopped)
            return
        self._has_let_go = self.listeners.let_go(self.sockets)
        for each in self.sockets:
            while each.queued:
                self.accept(each)

    def _on_arbiter_stopped(self, watched: int) -> None:
        self.poller.unregister(watched)
        self._let_go()

    def _hurry(self, deadline: float) -> None:
        """The worker stops: wait for no request beyond `deadline`, be it a first or a next one.

        gunicorn does so from 27.0 on, for the next ones.
        """
        for queue in (self.pending_conns, self.keepalived_conns):
            for conn in queue:
                conn.timeout = min(conn.timeout, deadline)

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
        if connection is not None and sock.duties.life.due_hooks:
            self.tracker.hook_runner.submit(partial(self.tracker.run_hooks, connection))

    def _await_first(self, conn: TConn) -> None:
        timeout = SILENT_TIMEOUT + self.cfg.keepalive
        self._park(conn, self.pending_conns, timeout, self.on_pending_socket_readable)

    def wait_for_and_dispatch_events(self, timeout: Any) -> None:
        """Wait and dispatch as gunicorn does, then end the lingering that has lasted too long."""
        if self.quitting is not None:
            self.quit_now()
        queues = [self.lingering_conns, self.left_conns]
        if not self.alive:
            if not self._has_let_go:
                timeout = min(timeout, ACCEPT_PAUSE)
            # gunicorn before 27.0 waits for all of its grace here, even if one times out earlier.
            queues += [self.pending_conns, self.keepalived_conns]
        now = time.monotonic()
        for queue in queues:
            if queue:
                timeout = max(0.0, min(timeout, queue[0].timeout - now))
        super().wait_for_and_dispatch_events(timeout)
        self._try_again()
        now = time.monotonic()
        while self.left_conns and self.left_conns[0].timeout <= now:
            self._end_left(self.left_conns[0])
        while self.lingering_conns and self.lingering_conns[0].timeout <= now:
            self._end_linger(self.lingering_conns[0])

    def _try_again(self) -> None:
        """Do what was not possible before, for want of descriptors or of threads."""
        if not self._has_let_go:
            self._let_go()
        if self.tpool.is_without_threads:
            self.tpool.retry()

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
