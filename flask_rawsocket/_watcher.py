"""`Watcher`: tells when a peer is gone.

One thread waits in epoll (kqueue on the BSDs and macOS) for hang-ups only: data that nobody has
read does not wake it, and it reads nothing.  What it finds it hands to a few threads of their own,
so that a slow callback keeps no other waiting.

Two rules: a descriptor is taken out before it is closed, since epoll keeps a registration for as
long as any duplicate of it lives; and an entry is found by the connection's number, never by its
descriptor alone, which is used again.
"""

from __future__ import annotations

import contextlib
import select
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ._hooks import call

if TYPE_CHECKING:
    from collections.abc import Callable

    from .connection import Connection

__all__ = ["Watcher"]

_CALLERS = 4
"""How many threads make the callbacks."""


_select: Any = select
"""Untyped: each system's module lacks the other's half."""


class _EpollHangups:
    """Waits for hang-ups with epoll (epoll(7)); each descriptor is told of once."""

    def __init__(self) -> None:
        self._epoll = _select.epoll()

    def add(self, fd: int) -> None:
        self._epoll.register(fd, _select.EPOLLRDHUP | _select.EPOLLONESHOT)

    def remove(self, fd: int) -> None:
        self._epoll.unregister(fd)

    def wait(self) -> list[int]:
        return [fd for fd, _events in self._epoll.poll()]


class _KqueueHangups:
    """Waits for hang-ups with kqueue (kqueue(2)).  It was not run on such a system."""

    def __init__(self) -> None:
        self._kqueue = _select.kqueue()

    def add(self, fd: int) -> None:
        # Data wakes it too; EV_CLEAR lets the same data do so only once.
        self._change(fd, _select.KQ_EV_ADD | _select.KQ_EV_CLEAR)

    def remove(self, fd: int) -> None:
        self._change(fd, _select.KQ_EV_DELETE)

    def wait(self) -> list[int]:
        events = self._kqueue.control(None, 64, None)
        return [event.ident for event in events if event.flags & _select.KQ_EV_EOF]

    def _change(self, fd: int, flags: int) -> None:
        self._kqueue.control([_select.kevent(fd, _select.KQ_FILTER_READ, flags)], 0)


class _Entry:
    """What is to be called when one connection's peer is gone."""

    __slots__ = ("callbacks", "fd", "number")

    def __init__(self, number: int, fd: int) -> None:
        self.number = number
        self.fd = fd
        self.callbacks: list[Callable[[], object]] = []


class Watcher:
    """Watches connections for one process.  Its threads are started when there is need."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Guards everything below; held for no system call but those that cannot block."""
        self._hangups: _EpollHangups | _KqueueHangups | None = None
        self._callers: ThreadPoolExecutor | None = None
        self._by_number: dict[int, _Entry] = {}
        self._by_fd: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def watch(self, connection: Connection, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` once `connection`'s peer is gone, at once if it is; give its undoing.

        Raises:
            ConnectionClosedError: the connection has been closed on our side.
        """
        fd = connection.fileno()
        with self._lock:
            hangups = self._started()
            entry = self._by_number.get(connection.id)
            if entry is None:
                former = self._by_fd.get(fd)
                if former is not None:  # closed by somebody behind our back
                    self._forget(former)
                entry = _Entry(connection.id, fd)
                self._by_number[connection.id] = self._by_fd[fd] = entry
                entry.callbacks.append(callback)
                hangups.add(fd)
            else:
                entry.callbacks.append(callback)

        def cancel() -> None:
            with self._lock, contextlib.suppress(ValueError):
                entry.callbacks.remove(callback)
                if not entry.callbacks:
                    self._forget(entry)

        return cancel

    def unwatch(self, connection: Connection) -> None:
        """Forget `connection`; called before its descriptor is closed."""
        with self._lock:
            entry = self._by_number.get(connection.id)
            if entry is not None:
                self._forget(entry)

    def _forget(self, entry: _Entry) -> None:
        """Take `entry` out.  The caller holds the lock."""
        if self._by_number.get(entry.number) is not entry:
            return
        del self._by_number[entry.number]
        del self._by_fd[entry.fd]
        # It may have been closed under us by whoever took the socket from the connection.
        with contextlib.suppress(OSError):
            if self._hangups is not None:
                self._hangups.remove(entry.fd)

    def _started(self) -> _EpollHangups | _KqueueHangups:
        """Start the threads if they have not been.  The caller holds the lock."""
        if self._hangups is None:
            self._hangups = _EpollHangups() if hasattr(select, "epoll") else _KqueueHangups()
            self._callers = ThreadPoolExecutor(_CALLERS, "rawsocket-disconnected")
            threading.Thread(
                target=self._run, args=(self._hangups,), name="rawsocket-watcher", daemon=True
            ).start()
        return self._hangups

    def _run(self, hangups: _EpollHangups | _KqueueHangups) -> None:
        while True:
            for fd in hangups.wait():
                with self._lock:
                    entry = self._by_fd.get(fd)
                    due = list(entry.callbacks) if entry is not None else []
                    if entry is not None:
                        entry.callbacks.clear()
                        self._forget(entry)
                for callback in due:
                    self._call(callback)

    def _call(self, callback: Callable[[], object]) -> None:
        if self._callers is not None:
            # At the interpreter's end no thread can be started, and nobody is left to be told.
            with contextlib.suppress(RuntimeError):
                self._callers.submit(call, callback)
