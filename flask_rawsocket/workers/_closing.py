"""`ClosingWorker`: how the thread worker ends connections, in whichever thread.

The lingering close (RFC 9112, section 9.6) waits in the poller, not in a thread, and so does a
connection whose view has left it to a thread of its own. Hooks of an end run elsewhere.
"""

from __future__ import annotations

import contextlib
import socket
import time
from functools import partial
from typing import Any

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import ConnState
from .._sockets.deadlines import READ, ready
from ._lingering import LINGER_TIMEOUT, drained
from ._parking import ParkingWorker
from ._tconn import Queue, TConn, close, close_may_wait

__all__ = ["ClosingWorker"]


class ClosingWorker(ParkingWorker):
    """Ends connections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lingering_conns = Queue(self._on_lingering, self.close_conn)
        """Closed on our side, and read until the peer closes too; still counted."""
        self.left_conns = Queue(self.finish, self.finish)
        """Left by their view to a thread of its own, which may have a goodbye to say."""
        self.queues += [self.lingering_conns, self.left_conns]

    def finish(self, conn: TConn) -> None:
        """Begin to close: say FIN, and read on in the poller until the peer has said it too."""
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        # Most peers have closed by now; if not, the poller tells when they do.
        if conn.sock.closes_at_once or drained(conn.sock):
            self.close_conn(conn)
        else:
            self.park(conn, self.lingering_conns, LINGER_TIMEOUT)

    def _on_lingering(self, conn: TConn) -> None:
        if drained(conn.sock):
            self.close_conn(conn)
        else:
            self.park(conn, self.lingering_conns, max(0.0, conn.timeout - time.monotonic()))

    def close_waiting(self, conn: TConn) -> None:
        """Close a connection whose request has been waited for long enough.

        Unless it has come by now: it would be lost, and reset.
        """
        connection = conn.sock.connection
        if connection is not None:
            if self.alive and _has_come(conn):
                self.enqueue_req(conn)
                return
            if not self.alive:
                ending.assume(life_of(connection), self.stop.reason)
            elif connection.state in (ConnState.NEW, ConnState.IDLE):
                ending.none_came(life_of(connection))
        self.close_conn(conn)

    def close_conn(self, conn: TConn) -> None:
        """Close a connection: here if that takes no time, else in a thread for such closes.

        It counts until it is closed, so that hooks which cannot keep up slow the accepting down.
        """
        sock: Any = conn.sock
        connection = sock.connection
        hooked = connection is not None and self.tracker.has_hooks_of_end(connection)
        if not hooked and not close_may_wait(sock):
            self._close_counted(conn)
            return
        sock.say_goodbye()  # now: the hooks may take their time, and their turn may come late
        self.tracker.hook_runner.submit(partial(self._close_counted, conn))

    def _close_counted(self, conn: TConn) -> None:
        try:
            close(conn.sock)
        finally:
            self.forget(conn)


def _has_come(conn: TConn) -> bool:
    try:
        return ready(conn.sock, READ, 0)
    except (OSError, ValueError):  # another thread of the application's has closed it just now
        return False
