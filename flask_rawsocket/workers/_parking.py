"""`ParkingWorker`: where the thread worker's connections wait without a thread: in the poller.

It is the poller that gunicorn has for kept-alive connections. Each connection that waits is in one
of the queues as well, by which it times out; all of it is the main thread's.
"""

from __future__ import annotations

import selectors
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gunicorn.workers import gthread

from ._common import TrackingWorker
from ._pool import Pool
from ._tconn import MethodQueue, Queue, TConn

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["LINGER_TIMEOUT", "ParkingWorker"]

LINGER_TIMEOUT: Final = 2.0
"""How long a closed connection may still send, in seconds; as gunicorn's ``close_graceful``."""


class ParkingWorker(TrackingWorker, gthread.ThreadWorker):
    """The queues, and how a connection gets into one and is found again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tpool: Any
        self.method_queue: Any = MethodQueue()
        self.pending_conns: Any = Queue()
        self.keepalived_conns: Any = Queue()
        self.lingering_conns = Queue()
        """Closed on our side, and read until the peer closes too; still counted."""
        self.left_conns = Queue()
        """Left by their view to a thread of its own, which may have a goodbye to say."""
        self._accept_again = 0.0
        self._has_let_go = True
        """Whether the listeners are closed, if they are to be; else descriptors had run out."""

    def get_thread_pool(self) -> Pool:
        """Make the pool, with a thread in it."""
        return Pool(self.cfg.threads, self.log)

    def _park(
        self,
        conn: TConn,
        queue: Queue,
        timeout: float,
        readable: Callable[[TConn, socket.socket], object],
    ) -> None:
        """Leave `conn` to the poller: `readable` is called when it is, or `queue` times it out."""
        timeout = timeout if self.alive else min(timeout, self.last_moment)
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

    @property
    def last_moment(self) -> float:
        """How long a request that was on its way may take to come when the worker stops."""
        return min(LINGER_TIMEOUT, float(self.cfg.graceful_timeout) / 2)
