"""`Observer`: who counts what happens to connections, where somebody wants it counted.

Nobody does by default, and that costs nothing but a look at `current`. An observer is told where
the thing happens, in the thread that does it, before any hook: it must return at once and raise
nothing.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .connection import Connection
    from .state import ConnState

__all__ = ["Observer", "busy_thread", "observe", "serve_with", "stop_observing"]


class Observer(Protocol):
    """What it is told; times are for it to take."""

    def changed(self, connection: Connection, old: ConnState | None, new: ConnState) -> None:
        """A state has changed; on CLOSED, the descriptor is still open."""

    def head_complete(self, connection: Connection) -> None:
        """The head of a request has been read."""

    def request_begun(self, connection: Connection) -> None:
        """The application is called next."""

    def handshake_begun(self, connection: Connection) -> None:
        """A TLS handshake begins."""

    def handshake_done(self, connection: Connection) -> None:
        """It is done."""

    def thread_begun(self) -> None:
        """A thread has a connection to serve."""

    def thread_done(self) -> None:
        """It has served it, or has left it to the poller."""

    def requests_waiting(self, count: int) -> None:
        """So many requests wait for a thread now."""

    def threads(self, most: int) -> None:
        """The server has so many threads at most."""


current: Observer | None = None
"""Who is told; None where nobody is. `_Several` where several are."""

_observers: tuple[Observer, ...] = ()
_most = 0
"""The threads of this process's server; 0 before it has said."""


def observe(observer: Observer) -> None:
    """Tell `observer` from now on, besides those who are told already."""
    _set((*_observers, observer))
    if _most:
        observer.threads(_most)


def stop_observing(observer: Observer) -> None:
    """Tell `observer` no more."""
    _set(tuple(each for each in _observers if each is not observer))


def serve_with(threads: int) -> None:
    """The server of this process has so many threads at most."""
    global _most  # noqa: PLW0603  a process has one server
    _most = threads
    if current is not None:
        current.threads(threads)


@contextlib.contextmanager
def busy_thread() -> Iterator[None]:
    """Inside, this thread serves a connection."""
    observer = current
    if observer is not None:
        observer.thread_begun()
    try:
        yield
    finally:
        if observer is not None:
            observer.thread_done()


def _set(observers: tuple[Observer, ...]) -> None:
    global current, _observers  # noqa: PLW0603  of this process
    _observers = observers
    current = observers[0] if len(observers) == 1 else None
    if len(observers) > 1:
        current = _Several(observers)


class _Several:
    """Tells several observers."""

    def __init__(self, observers: tuple[Observer, ...]) -> None:
        self._observers = observers

    def changed(self, connection: Connection, old: ConnState | None, new: ConnState) -> None:
        for each in self._observers:
            each.changed(connection, old, new)

    def head_complete(self, connection: Connection) -> None:
        for each in self._observers:
            each.head_complete(connection)

    def request_begun(self, connection: Connection) -> None:
        for each in self._observers:
            each.request_begun(connection)

    def handshake_begun(self, connection: Connection) -> None:
        for each in self._observers:
            each.handshake_begun(connection)

    def handshake_done(self, connection: Connection) -> None:
        for each in self._observers:
            each.handshake_done(connection)

    def thread_begun(self) -> None:
        for each in self._observers:
            each.thread_begun()

    def thread_done(self) -> None:
        for each in self._observers:
            each.thread_done()

    def requests_waiting(self, count: int) -> None:
        for each in self._observers:
            each.requests_waiting(count)

    def threads(self, most: int) -> None:
        for each in self._observers:
            each.threads(most)
