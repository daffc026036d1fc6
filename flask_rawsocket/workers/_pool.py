"""`Pool`: the threads of the thread worker, which wait for connections and serve them in turn.

No connection is handed from one thread to another where that can be helped: it costs more than a
small request. One thread, the leader, waits in the poller and serves what it finds there itself. A
second one, the standby, waits beside it and takes over when something has come while the leader is
busy; but not at once, as most views are back within a millisecond. Go's scheduler takes a processor
back from a blocked call in the same way (``sysmon``). A leader that was relieved so is a thread of
the pool like any other, and rests when its view is back, unless the standby's place is free.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from .._sockets.complaints import Complaints

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._readiness import Readiness

__all__ = ["Pool"]

_QUICK: Final = 0.001
"""The seconds that a leader has for a connection before the standby takes the next one."""

_LONGEST_NAP: Final = 0.004
"""The seconds for which a standby sleeps at most, beside a leader that is getting on."""


class _Worker:
    """One thread."""

    __slots__ = ("began", "served", "wake")

    def __init__(self) -> None:
        self.began = 0.0
        """Since when it serves a connection; 0 while it does not."""
        self.served = 0
        """How many times it has."""
        self.wake = threading.Semaphore(0)
        """Released when it is to be the standby."""


class Pool:
    """Threads, as many as the system has for it.

    With the threads there are it goes on where no more can be started: with one of them everything
    is served, if slowly.

    Args:
        most: how many there are at most.
        readiness: tells which descriptors are ready.
        claim: returns the connection that has a descriptor, or None where it waits no more.
        serve: serves a connection; raises nothing.
        log: gunicorn's, which hears of threads that cannot be started.
    """

    def __init__(
        self,
        most: int,
        readiness: Readiness,
        claim: Callable[[int], Any],
        serve: Callable[[Any], object],
        log: Any,
    ) -> None:
        self._most = most
        self._readiness = readiness
        self._claim = claim
        self._serve = serve
        self._log = log
        self._ready: deque[Any] = deque()
        """Connections that have something, and no thread yet."""
        self._lock = threading.Lock()
        """Guards what follows; the leader and the standby are looked at without it."""
        self._threads: list[threading.Thread] = []
        self._resting: list[_Worker] = []
        self._leader: _Worker | None = None
        self._standby: _Worker | None = None
        self._ended = False
        self._complaints = Complaints()
        self.retry()

    @property
    def is_without_threads(self) -> bool:
        """Whether not even one thread could be started."""
        return not self._threads

    @property
    def is_exhausted(self) -> bool:
        """Whether every thread serves a connection, so that none looks for the next one."""
        leader = self._leader
        return self._standby is None and (leader is None or leader.began > 0)

    @property
    def queued(self) -> int:
        """How many connections have been put that no thread has taken yet."""
        return len(self._ready)

    def retry(self) -> None:
        """Start a first thread, unless there is one."""
        with self._lock:
            if self._leader is None:
                self._leader = self._start()

    def put(self, conn: Any) -> None:
        """Have `conn` served, which nothing will be reported of."""
        self._ready.append(conn)
        self._readiness.kick()

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002  as ThreadPoolExecutor's
        """Let the threads end when what they serve is served.

        Args:
            wait: whether to wait for them.
            timeout: for how many seconds at most; None for no limit.
        """
        self._ended = True
        with self._lock:
            threads = self._threads[:]
            for each in self._resting:
                each.wake.release()
            self._readiness.kick()
        deadline = None if timeout is None else monotonic() + timeout
        for thread in threads if wait else ():
            thread.join(None if deadline is None else max(0.0, deadline - monotonic()))

    def _work(self, me: _Worker) -> None:
        ready, claim, serve, wait = self._ready, self._claim, self._serve, self._readiness.wait
        was_found = True  # by the poller, the last one
        while not self._ended:
            if self._leader is not me and self._standby is not me:
                self._rest(me)
                continue
            if ready and was_found:
                # Both in turn: under load the poller has something all the time.
                conn, was_found = self._next_ready(), False
            else:
                fd = wait(0 if ready else None)
                was_found = fd is not None
                conn = claim(fd) if fd is not None else self._next_ready()
            if conn is None:
                continue
            me.began = monotonic()
            if self._leader is not me and not self._takes_over(me, conn):
                conn, me.began = None, 0.0
                continue
            if ready or self._standby is None:
                self._leave_rest()
            serve(conn)
            conn = None  # which may be garbage now, and is closed by that
            me.served += 1
            me.began = 0.0
        self._readiness.kick()  # for the next one

    def _next_ready(self) -> Any:
        with contextlib.suppress(IndexError):
            return self._ready.popleft()
        return None

    def _rest(self, me: _Worker) -> None:
        with self._lock:
            if me in (self._leader, self._standby):
                return  # it was started to be that
            if self._standby is None:
                self._standby = me
                return
            self._resting.append(me)
            if self._ended:
                me.wake.release()
        me.wake.acquire()

    def _leave_rest(self) -> None:
        """Leave what is ready to another thread: to a standby, if there is a thread for it."""
        if self._standby is None and (self._resting or len(self._threads) < self._most):
            with self._lock:
                if self._standby is None:
                    self._standby = self._next_standby()
        if self._ready:
            # One thread may have taken the kicks of two that were put, and serves only one.
            self._readiness.kick()

    def _next_standby(self) -> _Worker | None:
        """Return a thread that has nothing to do. The caller holds the lock."""
        if self._resting:
            worker = self._resting.pop()
            worker.wake.release()
            return worker
        return self._start() if len(self._threads) < self._most else None

    def _takes_over(self, me: _Worker, conn: Any) -> bool:
        """`me` is not the leader: tell whether it serves `conn` all the same.

        If not, the leader does so, or has a thread do it that `conn` was left to.
        """
        leader = self._leader
        if leader is not None and me is self._standby:
            began = leader.began
            if began and monotonic() - began < _QUICK:
                me.began = 0.0
                self._ready.append(conn)
                self._leave_to(leader)
                return False
        with self._lock:
            former = self._leader
            if me is self._standby and former is not None:
                self._leader = me
                self._standby = former if not former.began else self._next_standby()
        return True

    def _leave_to(self, leader: _Worker) -> None:
        """Let `leader` take what is ready; return when it does not get on with it.

        While it does there is nothing for the standby to do, and to look would hold the leader up.
        """
        nap = _QUICK
        while leader.began and not self._ended:
            served = leader.served
            time.sleep(nap)
            if leader.served == served:
                break
            nap = min(2 * nap, _LONGEST_NAP)

    def _start(self) -> _Worker | None:
        """Start a thread; None where there is none to be had. The caller holds the lock."""
        worker = _Worker()
        name = f"rawsocket-pool-{len(self._threads)}"
        thread = threading.Thread(target=self._work, args=(worker,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            if self._complaints.is_due():
                self._log.error("%s: serving with the %d there are", exc, len(self._threads))
            return None
        self._threads.append(thread)
        return worker
