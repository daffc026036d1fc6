"""`GreenletWorker`: the main greenlet of the gevent workers: it accepts, and stops.

What differs from gunicorn's own: a stop is begun at once and not at the next second, takes in what
the kernel has queued, waits for no request that has not come, and ends when the last one has.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from functools import partial
from typing import Any, Final

from gevent.event import Event
from gevent.pool import Pool
from gunicorn.workers import base, ggevent

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import ConnState
from .._gevent.accepting import Accepting

__all__ = ["GreenletWorker"]

_HEARTBEAT: Final = 1.0
"""The seconds between two signs of life to the arbiter."""

_LOOK: Final = 0.25
"""Those between two looks whether requests have ended, while the worker stops."""

LINGER_TIMEOUT: Final = 2.0
"""The seconds for which a request that is on its way may take to come when the worker stops."""


class GreenletWorker(ggevent.GeventWorker):
    """Serves each connection in a greenlet of its own."""

    stop: Any
    listeners: Any
    tracker: Any
    complain: Any
    quitting: tuple[Any, Any] | None
    quit_now: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._woken: Any = None
        """Set when the main greenlet is to look after things."""

    def patch(self) -> None:
        """Do nothing: that has been done, before anything of ours was made."""

    def make_server(self, listener: Any) -> Any:
        """Return the server that accepts from `listener`."""
        pool = Pool(self.worker_connections)
        server = Accepting(listener, handle=partial(self.handle, listener), spawn=pool)
        if self.cfg.workers > 1:
            server.max_accept = 1
        return server

    def run(self) -> None:
        """Serve until the worker is to stop, and the requests in hand have ended."""
        self._woken = Event()
        servers = [self.make_server(each) for each in self.sockets]
        try:
            for each in servers:
                each.complain = self.complain
                each.start()
            while self.alive:
                self.notify()
                self._woken.wait(_HEARTBEAT)
            self.quit_now()
            self._finish(servers)
        finally:
            for each in servers:
                each.close()

    def _finish(self, servers: list[Any]) -> None:
        """Accept no more, but what nobody else would; let requests end, within the grace."""
        self.stop.begin()
        for each in servers:
            each.accept_no_more()
        last_moment = time.monotonic() + min(LINGER_TIMEOUT, self.cfg.graceful_timeout / 2)
        has_let_go = False
        while self.stop.left > 0:
            if not has_let_go and self.listeners.watched is None:
                has_let_go = self.listeners.let_go(self.sockets)
            have_served = [each.serve_queued() for each in servers]
            if time.monotonic() > last_moment:
                self._end_waiting()
            self.quit_now()
            self.notify()
            if all(each.pool.join(_LOOK) for each in servers) and all(have_served):
                break

    def _end_waiting(self) -> None:
        """End the connections whose greenlets wait for a request."""
        for connection in self.tracker.connections.in_state(ConnState.NEW, ConnState.IDLE):
            life = life_of(connection)
            sock: Any = life.sock
            if sock is not None:
                ending.assume(life, self.stop.reason)
                with contextlib.suppress(OSError):
                    sock.shutdown_raw(socket.SHUT_RD)

    def notify(self) -> None:
        """Tell the arbiter that this worker lives; without an arbiter, stop.

        gunicorn's own leaves at once, in the middle of requests.
        """
        base.Worker.notify(self)
        if self.alive and self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False

    def wake(self) -> None:
        """Have the main greenlet look after things now."""
        if self._woken is not None:
            self._woken.set()

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Stop gracefully, and begin at once."""
        super().handle_exit(sig, frame)
        self.wake()

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """Stop at once, in the main greenlet; a signal may interrupt any, and the hub."""
        if not self.booted:
            super().handle_quit(sig, frame)
        self.alive = False
        self.quitting = (sig, frame)
        self.wake()
