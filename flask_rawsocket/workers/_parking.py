"""`ParkingWorker`: where the thread worker's connections wait without a thread: in the poller.

Each connection that waits is in one of the queues as well, by which it times out. Whoever takes it
out of its queue has it: a thread of the pool that finds it ready, or the main thread.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from gunicorn.workers import gthread

from ._common import TrackingWorker
from ._lingering import LINGER_TIMEOUT
from ._pool import Pool
from ._readiness import Readiness, make_readiness
from ._tconn import MethodQueue, Queue, TConn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ParkingWorker"]


class ParkingWorker(TrackingWorker, gthread.ThreadWorker):
    """The queues, and how a connection gets into one and is found again."""

    readiness: Readiness

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tpool: Any
        self.method_queue: Any = MethodQueue()
        self.queues: list[Queue] = []
        """All of them."""
        self._conns: dict[int, TConn] = {}
        """Every connection, by the number that the poller knows it by."""
        self._count_lock = threading.Lock()
        """Guards `nr_conns`, and what leaves `_conns`."""
        self._wakes_at = 0.0
        """When the main thread looks after timeouts next."""

    def get_thread_pool(self) -> Any:
        """Make the pool, with a thread in it."""
        self.readiness = make_readiness()
        return Pool(self.cfg.threads, self.readiness, self.claim, self.serve, self.log)

    def serve(self, conn: Any) -> None:
        """Serve `conn`, which is ready for what it waited for, in a thread of the pool."""
        raise NotImplementedError

    def close_conn(self, conn: TConn) -> None:
        """Close `conn`, which waits nowhere, and count it no more."""
        raise NotImplementedError

    def enqueue_req(self, conn: Any) -> None:
        """Have the pool serve `conn`, of which the poller has nothing to report."""
        self.tpool.put(conn)

    def claim(self, fd: int) -> TConn | None:
        """Take the connection of `fd` out of its queue; None where it is in none.

        It may have timed out since the poller saw it, or be a later one of the same number.
        """
        conn = self._conns.get(fd)
        return conn if conn is not None and conn.queue.claim(conn) else None

    def admit(self, conn: TConn, queue: Queue, timeout: float) -> None:
        """Count a new connection, and let it wait in `queue` for at most `timeout` seconds."""
        conn.fd = fd = conn.sock.fileno()
        former = self._conns.get(fd)
        if former is not None and former.queue.claim(former):
            # The application has closed it behind our back, and its number was given out again.
            self.forget(former)
        # In its queue before it is in the map: a late report of its number's former one finds it.
        self._wait_in(conn, queue, timeout)
        with self._count_lock:
            self.nr_conns += 1
            conn.is_counted = True
            self._conns[fd] = conn
        try:
            self.readiness.add(fd)
        except (OSError, ValueError) as exc:  # it is closed, or the system has no room for it
            self._park_failed(conn, exc)

    def park(self, conn: TConn, queue: Queue, timeout: float, what: str | None = None) -> None:
        """Leave `conn` to the poller, until it is ready or `timeout` seconds are over.

        Args:
            conn: whoever calls has it, and has it no more afterwards.
            queue: where it waits.
            timeout: in seconds; less while the worker stops, where the queue says so.
            what: what it waits for; None for what `queue` says.
        """
        fd = conn.sock.fileno()
        self._wait_in(conn, queue, timeout)
        if fd != conn.fd:  # somebody has closed it
            self._park_failed(conn)
            return
        try:
            self.readiness.arm(fd, what or queue.what)
        except (OSError, ValueError) as exc:
            self._park_failed(conn, exc)

    def _wait_in(self, conn: TConn, queue: Queue, timeout: float) -> None:
        now = time.monotonic()
        conn.timeout = now + timeout
        conn.queue = queue
        queue.append(conn)
        # Asked once it is there: a stop that begins from here on finds it in the queue.
        if not self.alive and queue.is_for_requests:
            conn.timeout = min(conn.timeout, now + self.last_moment)
        if conn.timeout < self._wakes_at:
            self.wake()

    def _park_failed(self, conn: TConn, exc: Exception | None = None) -> None:
        if conn.queue.claim(conn):
            if exc is not None and conn.sock.fileno() >= 0:
                self.log.error("A connection cannot be waited for: %s", exc)
            self.close_conn(conn)

    def forget(self, conn: TConn) -> None:
        """Count `conn` no more: it is closed, or somebody else's."""
        with self._count_lock:
            # Under the lock: a later one may have its number by now.
            if self._conns.get(conn.fd) is conn:
                del self._conns[conn.fd]
            if not conn.is_counted:
                return
            conn.is_counted = False
            self.nr_conns -= 1
            is_awaited = not self.alive or self.nr_conns == self.worker_connections - 1
        if is_awaited:  # by the main thread: to accept again, or to stop
            self.wake()

    def wake(self) -> None:
        """Have the main thread look after things before its time."""
        self.method_queue.defer(_nothing)

    def next_timeout(self) -> float:
        """Return when the first connection will have waited too long."""
        firsts: Iterator[TConn | None] = (queue.first() for queue in self.queues)
        return min((conn.timeout for conn in firsts if conn is not None), default=float("inf"))

    @property
    def last_moment(self) -> float:
        """How long a request that was on its way may take to come when the worker stops."""
        return min(LINGER_TIMEOUT, float(self.cfg.graceful_timeout) / 2)


def _nothing() -> None:
    """Be called."""
