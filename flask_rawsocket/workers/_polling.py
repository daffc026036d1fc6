"""`PollingWorker`: the main thread of the thread worker: it accepts, and ends what waits too long.

What differs from gunicorn's own:

- a new connection goes to the poller, not to a thread that waits for its first byte;
- the threads of the pool take connections out of the poller and put them back themselves;
- the lingering close (RFC 9112, section 9.6) waits in the poller as well;
- `nr_conns` goes down once for each connection, whatever happens to its socket.

No hook runs on the main thread.
"""

from __future__ import annotations

import contextlib
import select
import selectors
import time
from functools import partial
from typing import Any, Final, cast

from .._connection import observing
from ._closing import ClosingWorker
from ._common import ACCEPT_PAUSE
from ._tconn import TConn

__all__ = ["SILENT_TIMEOUT", "PollingWorker"]

_select: Any = select
"""What it has depends on the system."""

SILENT_TIMEOUT: Final = 5.0
"""What a new connection is given beyond `keepalive` for its first byte: gunicorn's own sum."""

_HEARTBEAT: Final = 0.5
"""The seconds between two signs of life to the arbiter, at least; its patience is whole seconds."""

_JOIN_TIMEOUT: Final = 0.5
"""The seconds for which threads that have nothing to do are waited for at the end."""


class PollingWorker(ClosingWorker):
    """Accepts connections, keeps the timeouts, and stops."""

    pending_conns: Any
    keepalived_conns: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._accept_again = 0.0
        self._has_let_go = True
        """Whether the listeners are closed, if they are to be; else descriptors had run out."""
        self._next_sign = self._next_check = 0.0

    def run(self) -> None:
        """Serve as gunicorn does; then let idle threads end, so that none is cut off."""
        try:
            super().run()
        finally:
            self.tpool.shutdown(timeout=min(_JOIN_TIMEOUT, self.last_moment))

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """Stop at once; that is, at the main loop's next turn.

        gunicorn raises SystemExit here, wherever the main thread is. Where that was the
        start of a pool's thread, the interpreter waited for that thread when it ended.
        """
        if not self.booted:
            super().handle_quit(sig, frame)
        self.alive = False
        self.quitting = (sig, frame)
        self.wake()

    def quit_now(self) -> None:
        """Do what gunicorn does on a QUIT: call ``worker_int``, and leave."""
        if self.quitting is not None:
            super().handle_quit(*self.quitting)

    def notify(self) -> None:
        """Tell the arbiter that this worker lives; by the clock, not for each connection."""
        now = time.monotonic()
        if now >= self._next_sign:
            self._next_sign = now + _HEARTBEAT
            super().notify()
            if observing.current is not None:
                observing.current.requests_waiting(self._requests_waiting())

    def _requests_waiting(self) -> int:
        """Return how many connections have something for a thread while all threads are busy.

        The poller of the pool reports of each once, to the thread that serves it. So it is another
        one that is asked here, twice a second at most.
        """
        queued: int = self.tpool.queued
        if not self.tpool.is_exhausted:
            return queued
        poll = _select.poll()
        for queue in self.queues:
            for conn in queue if queue.is_for_requests else ():
                with contextlib.suppress(ValueError):  # it has been closed
                    poll.register(conn.sock, _select.POLLIN)
        return queued + len(poll.poll(0))

    def is_parent_alive(self) -> bool:
        """Tell whether the arbiter lives; by the clock as well."""
        now = time.monotonic()
        if now < self._next_check:
            return True
        self._next_check = now + _HEARTBEAT
        return super().is_parent_alive()

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
        for queue in self.queues:
            for conn in queue if queue.is_for_requests else ():
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
        conn = TConn(self.cfg, sock, cast("Any", addr), listener.getsockname())
        connection = sock.connection
        due = connection is not None and sock.duties.life.due_hooks
        self.admit(conn, self.pending_conns, SILENT_TIMEOUT + self.cfg.keepalive)
        if due:
            self.tracker.hook_runner.submit(partial(self.tracker.run_hooks, connection))

    def wait_for_and_dispatch_events(self, timeout: Any) -> None:
        """Wait and dispatch as gunicorn does, until the first connection has waited too long."""
        if self.quitting is not None:
            self.quit_now()
        if not self._has_let_go:
            timeout = min(timeout, ACCEPT_PAUSE)
        self._wakes_at = time.monotonic() + timeout
        # A connection that is parked from here on wakes this thread if it times out before.
        timeout = min(timeout, self.next_timeout() - time.monotonic())
        super().wait_for_and_dispatch_events(max(0.0, timeout))
        if not self._has_let_go:
            self._let_go()
        if self.tpool.is_without_threads:
            self.tpool.retry()
        if not self.alive:
            self._end_waiting()  # gunicorn before 27.0 does not while it stops

    def murder_keepalived(self, force: bool = False) -> None:  # noqa: FBT001, FBT002  gunicorn's
        """Close the kept-alive connections that have waited too long, or all of them."""
        now = float("inf") if force else time.monotonic()
        for conn in self.keepalived_conns.expired(now):
            self.keepalived_conns.on_timeout(conn)

    def murder_pending(self) -> None:
        """End what has waited too long in any queue."""
        self._end_waiting()

    def _end_waiting(self) -> None:
        now = time.monotonic()
        for queue in self.queues:
            for conn in queue.expired(now):
                queue.on_timeout(conn)
