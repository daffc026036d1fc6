"""`ClosingWorker`: how the thread worker's main thread ends connections.

The lingering close (RFC 9112, section 9.6) waits in the poller, not on the main thread, and so does
a connection whose view has left it to a thread of its own. Hooks of an end run elsewhere.
"""

from __future__ import annotations

import contextlib
import socket
from functools import partial
from typing import Any

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import READ, ready
from ._parking import LINGER_TIMEOUT, ParkingWorker
from ._tconn import TConn, close, close_may_wait, drained

__all__ = ["ClosingWorker"]


class ClosingWorker(ParkingWorker):
    """Ends connections; all of it on the main thread, but where it is said."""

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
        """Close a connection that gunicorn has waited for long enough.

        Unless its request has come by now, which would be lost, and reset.
        """
        connection = conn.sock.connection
        if connection is not None:
            if self.alive and ready(conn.sock, READ, 0):
                self.nr_conns += 1
                self.enqueue_req(conn)
                return
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
        sock.say_goodbye()  # now: the hooks may take their time, and their turn may come late
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
