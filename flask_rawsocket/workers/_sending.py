"""`SendingWorker`: sends the rest of responses that were too long for their sockets.

No thread waits for a client that reads slowly, or not at all: what is left of a response waits in
the poller, and its connection is ACTIVE until it is sent.
"""

from __future__ import annotations

from typing import Any, Final

from .._connection import ending
from .._connection.state import CloseReason
from ._readiness import WRITING
from ._receiving import ReceivingWorker
from ._tconn import Queue, TConn

__all__ = ["SendingWorker"]

_CHECK: Final = 1.0
"""The seconds after which it is looked at again how fast the client reads."""


class SendingWorker(ReceivingWorker):
    """Sends what is left of responses, in the pool but where it is said."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sending_conns = Queue(self._send_on, self._check_reader, WRITING)
        """With a response that is not all sent."""
        self.queues.append(self.sending_conns)

    def send_rest(self, conn: TConn, *, keeps: bool) -> None:
        """Send what is left of the response, then wait for the next request, or close.

        Args:
            conn: its connection.
            keeps: whether it is kept for another request.
        """
        conn.keeps = keeps
        self.park(conn, self.sending_conns, _CHECK)

    def _send_on(self, conn: TConn) -> None:
        duties = conn.sock.duties
        try:
            waits_for = conn.outgoing.flush()
        except (OSError, ValueError) as exc:
            self.log.debug("The rest of a response could not be sent: %s", exc)
            if duties is not None and not ending.broke_off(duties.life, exc):
                ending.cut(duties.life)
            self._give_up(conn)
            return
        if waits_for is not None:
            self._check_reader(conn, waits_for)
            return
        conn.outgoing = None
        if conn.keeps and duties is not None and not duties.life.force_close:
            ending.reset(duties.life)
            self.keep(conn)
        else:
            if duties is not None:
                ending.answered(duties.life)
            self.finish(conn)

    def _check_reader(self, conn: TConn, waits_for: str = WRITING) -> None:
        """Go on waiting for room, unless the client reads too slowly; in whichever thread."""
        if not conn.outgoing.is_too_slow():
            self.park(conn, self.sending_conns, _CHECK, waits_for)
            return
        connection = conn.sock.connection
        self.log.info("%r: the response was read too slowly", connection)
        if connection is not None:
            ending.note(conn.sock.duties.life, CloseReason.SLOW_READER)
        self._give_up(conn)

    def _give_up(self, conn: TConn) -> None:
        outgoing, conn.outgoing = conn.outgoing, None
        outgoing.drop()
        self.close_conn(conn)
