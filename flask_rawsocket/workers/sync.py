"""`SyncWorker`: gunicorn's ``sync`` worker, tracked.

It handles one connection at a time on its only thread, which is thereby the connection's own: the
hooks run there. It always closes after a response, so IDLE does not exist here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from typing import Any, Final

from gunicorn import util
from gunicorn.workers import sync

from .._connection import ending, observing
from .._connection.connection import life_of
from .._connection.state import CloseReason
from .._sockets.deadlines import READ, HeaderTimeoutError, ready
from .._sockets.proxied import take_proxy_header
from .._sockets.proxy_protocol import ProxyHeaderError
from ._common import ACCEPT_PAUSE, TrackingWorker
from ._exchange import LEAVE_TIMEOUT, is_left
from ._lingering import linger
from ._reasons import response_cut

__all__ = ["SyncWorker"]

SILENT_TIMEOUT: Final = 2.0
"""How long what was queued may be silent when the worker stops, in seconds."""

# By name: to mypy on Windows, where gunicorn does not run, there is no SIGQUIT.
_STOPPING: Final = frozenset(getattr(signal, name) for name in ("SIGTERM", "SIGQUIT", "SIGINT"))


class SyncWorker(TrackingWorker, sync.SyncWorker):
    """``gunicorn -k flask_rawsocket.workers.SyncWorker``."""

    SEAMS = (
        *TrackingWorker.SEAMS,
        (sync.SyncWorker, "accept"),
        (sync.SyncWorker, "handle"),
        (sync.SyncWorker, "handle_request"),
    )

    def init_process(self) -> None:
        """Run, with a pipe in which the interpreter writes the signals that come."""
        self._signals = os.pipe()
        util.set_non_blocking(self._signals[1])
        # gunicorn's handlers say that the worker stops before they raise it.
        self.tracker.ask_of_exits(lambda: not self.alive)
        super().init_process()

    def accept(self, listener: Any) -> None:
        """Accept and serve one connection; wait a little when out of descriptors."""
        try:
            super().accept(listener)
        except OSError as exc:
            if exc.errno == errno.EAGAIN:
                raise  # gunicorn waits for the next one
            if self.accept_failed(exc):
                # Not by the pipe of signals: it is read elsewhere, and may be readable till then.
                time.sleep(ACCEPT_PAUSE)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve `client`, and no longer than its head may take if it sends none."""
        connection = client.connection
        if connection is not None:
            self.tracker.run_hooks(connection)
        client.expect_head()  # from here: what a hook takes is not the client's doing
        with observing.busy_thread():
            if self.is_proxied and self.is_tls and not self._take_proxy_header(client, addr):
                return
            super().handle(listener, client, addr)
        if connection is not None:
            sock: Any = life_of(connection).sock  # under TLS gunicorn has wrapped `client`
            if sock is not None:
                sock.hear_server_again()

    def _take_proxy_header(self, client: Any, addr: Any) -> bool:
        """Read a PROXY protocol header before TLS; tell whether the handshake may begin."""
        try:
            take_proxy_header(client)
        except (OSError, HeaderTimeoutError, ProxyHeaderError) as exc:
            if isinstance(exc, OSError):
                self.log.debug("No PROXY protocol header came: %s", exc)
            else:
                self.handle_error(None, client, addr, exc)
            util.close(client)
            return False
        return True

    def handle_request(self, listener: Any, req: Any, client: Any, addr: Any) -> Any:
        """Serve one request, and note how its connection will have ended."""
        connection = self.begin_request(client, req)
        try:
            result = super().handle_request(listener, req, client, addr)
            self.was_short(connection)
        except StopIteration:
            response_cut(connection)
            if connection is not None and is_left(life_of(connection)):
                # gunicorn says FIN next.
                with contextlib.suppress(OSError, ValueError):  # the other thread has closed it
                    ready(client, READ, LEAVE_TIMEOUT)
            raise
        except OSError as exc:
            self.broken_off(connection, exc)
            raise
        finally:
            self.end_request(client, connection)
        if connection is not None and not life_of(connection).is_hijacked():
            ending.answered(life_of(connection))
            linger(client)
        return result

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer as gunicorn does; then read what still comes of the request."""
        super().handle_error(req, client, addr, exc)
        connection = getattr(client, "connection", None)
        if connection is not None and not life_of(connection).is_hijacked():
            linger(client)

    def serve_queued(self) -> None:
        """Serve what the kernel has queued when the worker stops, and nobody else would.

        On which nothing comes for a moment is closed: one after the other they would take all of
        the grace.
        """
        has_let_go = self.listeners.watched is not None
        last_moment = time.monotonic() + min(SILENT_TIMEOUT, self.cfg.graceful_timeout / 2)
        while not has_let_go:
            has_let_go = self.listeners.let_go(self.sockets)
            for each in self.sockets:
                while each.bring_forward(max(0.0, last_moment - time.monotonic())):
                    self.notify()
                    self.accept(each)
                while each.queued:
                    self._close_silent(*each.accept())
            if not has_let_go:
                if not self.stop.left:
                    break
                time.sleep(ACCEPT_PAUSE)  # out of descriptors

    @staticmethod
    def _close_silent(client: Any, _addr: Any) -> None:
        if client.connection is not None:
            ending.assume(life_of(client.connection), CloseReason.STOPPED)
        client.close()

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """Stop at once: by a SystemExit that ends the request in hand."""
        again, self.quitting = self.quitting is not None, (sig, frame)
        if again or self.stop.is_ending:
            return  # what ends the connections is not to be interrupted
        for connection in self.tracker.connections.values():
            life = life_of(connection)
            if not life.is_hijacked():
                ending.note(life, CloseReason.STOPPED)
        super().handle_quit(sig, frame)

    def quit_now(self) -> None:
        """Leave where there was a QUIT: gunicorn takes its SystemExit for a view's failure."""
        if self.quitting is not None:
            sys.exit(0)

    def init_signals(self) -> None:
        """Have signals heard of by a thread, too.

        The main thread may be in a system call that a TERM does not interrupt, such as a view's
        recv(), and runs no handler until that returns.
        """
        super().init_signals()
        signal.set_wakeup_fd(self._signals[1])

    def _hear_signals(self) -> None:
        while heard := os.read(self._signals[0], 512):
            with contextlib.suppress(BlockingIOError):  # it will wake up anyhow
                os.write(self.PIPE[1], heard)  # where gunicorn waits for them
            if not _STOPPING.isdisjoint(heard):
                self.stop.begin()

    def run(self) -> None:
        """Serve, with a thread that tells applications of a stop while a request goes on."""
        name = "rawsocket-signals"
        try:
            threading.Thread(target=self._hear_signals, name=name, daemon=True).start()
        except RuntimeError as exc:
            self.log.error("%s: a request in hand will delay on_shutdown", exc)  # noqa: TRY400
            signal.set_wakeup_fd(self.PIPE[1])  # as gunicorn does
        super().run()
