"""`SyncWorker`: gunicorn's ``sync`` worker, tracked.

It handles one connection at a time on its only thread, which is thereby the connection's own: the
hooks run there.  It always closes after a response, so IDLE does not exist here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from typing import Any

from gunicorn import util
from gunicorn.workers import sync

from .._state import CloseReason, ConnState
from ._common import ACCEPT_PAUSE, TrackingWorker, server_done

__all__ = ["SyncWorker"]


class SyncWorker(TrackingWorker, sync.SyncWorker):
    """``gunicorn -k flask_rawsocket.workers.SyncWorker``."""

    SEAMS = (
        *TrackingWorker.SEAMS,
        (sync.SyncWorker, "accept"),
        (sync.SyncWorker, "handle"),
        (sync.SyncWorker, "handle_request"),
    )

    def init_process(self) -> None:
        """Run, with a way for the signal handler to wake a thread."""
        self._stop_pipe = os.pipe()
        util.set_non_blocking(self._stop_pipe[1])
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
        super().handle(listener, client, addr)
        if self.is_tls and connection is not None:
            server_done(connection)

    def handle_request(self, listener: Any, req: Any, client: Any, addr: Any) -> Any:
        """Serve one request, and note how its connection will have ended."""
        connection = self.begin_request(client, req)
        try:
            result = super().handle_request(listener, req, client, addr)
        except OSError as exc:
            self.broken_off(connection, exc)
            raise
        finally:
            self.end_request(connection)
        if connection is not None and connection.state is not ConnState.HIJACKED:
            connection._ending = CloseReason.AFTER_RESPONSE
        return result

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """Stop at once: by SystemExit, amid the request in hand, which ends by that."""
        for connection in self.tracker.connections.values():
            if connection._state is not ConnState.HIJACKED:
                connection._ending = CloseReason.SHUTDOWN
        super().handle_quit(sig, frame)

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Begin to stop; a request may go on, so another thread tells applications."""
        super().handle_exit(sig, frame)
        # A signal handler may not start a thread: it may have interrupted one's start.
        with contextlib.suppress(BlockingIOError):  # told often enough
            os.write(self._stop_pipe[1], b"x")

    def _wait_for_stop(self) -> None:
        os.read(self._stop_pipe[0], 1)
        self.stop.begin()

    def run(self) -> None:
        """Serve, with a thread that tells applications of a stop while a request goes on."""
        threading.Thread(target=self._wait_for_stop, name="rawsocket-stop", daemon=True).start()
        super().run()
