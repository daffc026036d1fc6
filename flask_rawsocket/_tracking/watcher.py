"""`Watcher`: tells when a peer is gone.

One thread waits in epoll (kqueue on the BSDs and macOS) for hang-ups only: data that nobody has
read does not wake it, and it reads nothing. What returns at once, such as the setting of an Event,
it calls itself; any other callback is made by the runner, so that a slow one delays no other.

Three rules: a descriptor is taken out before it is closed, since epoll keeps a registration for as
long as any duplicate of it lives; an entry is found by the connection's number, since descriptors
are used again; and what the kernel reports is a reason to ask about the connection, never the
answer: the descriptor may be another's by now, and an error may be a message in the error queue.
"""

from __future__ import annotations

import contextlib
import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from .._connection.native import RLock
from ..errors import ConnectionClosedError, RawSocketError
from .hangups import make_hangups
from .runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.connection import Connection
    from .hangups import Hangups

__all__ = ["Watcher"]

log = logging.getLogger("flask_rawsocket")


class _Entry:
    """A connection that is watched, and its watches. Without one it is in no table."""

    __slots__ = ("connection", "fd", "is_seen_gone", "watches")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.fd = -1
        """By which the kernel knows it, once it does."""
        self.is_seen_gone = False
        """Whether the application has been told that the peer is."""
        self.watches: list[_Watch] = []


class _Watch:
    """A callback, which is called once; its watch is taken out of its entry before that."""

    __slots__ = ("at_end_too", "callback", "entry")

    def __init__(self, entry: _Entry, callback: Callable[[], object], *, at_end_too: bool) -> None:
        self.entry = entry
        self.callback = callback
        self.at_end_too = at_end_too


class Watcher:
    """Watches connections for one process. Its thread is started when there is need.

    Args:
        runner: what makes the callbacks.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._lock = RLock()
        """Guards everything below; held for no system call but those that cannot block.
        Re-entrant: a finalizer may run at any time, and close a connection."""
        self._pid = os.getpid()
        self._hangups: Hangups | None = None
        self._by_number: dict[int, _Entry] = {}
        self._by_fd: dict[int, _Entry] = {}
        """Those of which the kernel is to report; no more once it has."""

    def __len__(self) -> int:
        return len(self._by_number)

    def watch(
        self, connection: Connection, callback: Callable[[], object], *, at_end_too: bool = False
    ) -> Callable[[], None]:
        """Call `callback` once the peer of `connection` is gone, at once if it is.

        Args:
            connection: the one to watch.
            callback: called in another thread.
            at_end_too: call it also when `connection` is watched no more, so that a thread which
                waits sees why; and from whichever thread notices, so it must return at once.

        Returns:
            What takes the callback back.

        Raises:
            ConnectionClosedError: the connection has been closed on our side.
            RawSocketError: the system watches no more; ``__cause__`` says why.
            UnsupportedError: the system has nothing to watch with.
        """
        with self._lock:
            entry = self._by_number.get(connection.id) or _Entry(connection)
            due = self._forget_former(entry)
            self._arm(entry)
            watch = _Watch(entry, callback, at_end_too=at_end_too)
            entry.watches.append(watch)
            self._by_number[connection.id] = entry
        self._submit(due)
        return partial(self._cancel, watch)

    def unwatch(self, connection: Connection, *, peer_is_gone: bool = False) -> None:
        """Forget `connection`, before its descriptor is closed; what is queued is not called.

        Args:
            connection: the one to forget.
            peer_is_gone: it is, and the kernel's report may be too late: make the callbacks.
        """
        due: list[_Watch] = []
        with self._lock:
            entry = self._by_number.get(connection.id)
            if entry is not None:
                peer_is_gone = peer_is_gone or entry.is_seen_gone
                due = self._end(entry)
        if peer_is_gone:
            self._submit(due)

    def peer_was_seen_gone(self, connection: Connection) -> None:
        """The application has been told so: make the callbacks, should its request end next."""
        with self._lock:
            entry = self._by_number.get(connection.id)
            if entry is not None:
                entry.is_seen_gone = True

    def _submit(self, due: list[_Watch]) -> None:
        """Have the callbacks made of watches that have been taken out."""
        for watch in due:
            self._runner.submit(partial(_make, watch))

    def _cancel(self, watch: _Watch) -> None:
        # A forked child has the kernel's table in common with its parent, whose watch this is.
        if os.getpid() == self._pid:
            self._take_out(watch)

    def _take_out(self, watch: _Watch) -> bool:
        """Take `watch` out, and its entry with the last one; tell whether it was there."""
        with self._lock:
            entry = watch.entry
            if watch not in entry.watches:
                return False
            entry.watches.remove(watch)
            if not entry.watches:
                self._end(entry)
            return True

    def _forget_former(self, entry: _Entry) -> list[_Watch]:
        """Forget whose descriptor that of `entry` was: closed by somebody behind our back.

        Returns:
            The watches that are due. The caller holds the lock.
        """
        former = self._by_fd.get(entry.connection.fileno())
        if former is None or former is entry:
            return []
        due = self._end(former)
        return due if _is_gone(former.connection) else []

    def _arm(self, entry: _Entry) -> None:
        """Let the kernel report of `entry`. The caller holds the lock."""
        # Under the lock: a later connection of the same number can only be watched after this.
        fd = entry.connection.fileno()
        if self._by_fd.get(fd) is entry:
            return
        try:
            self._started().add(fd)
        except OSError as exc:
            entry.connection.fileno()  # says so if it has been closed meanwhile
            raise RawSocketError(f"{entry.connection!r} cannot be watched: {exc}") from exc
        entry.fd = fd
        self._by_fd[fd] = entry

    def _disarm(self, entry: _Entry) -> None:
        """Let the kernel report of `entry` no more. The caller holds the lock."""
        if self._by_fd.get(entry.fd) is not entry:
            return
        del self._by_fd[entry.fd]
        # The owner of a hijacked socket may have closed it meanwhile.
        with contextlib.suppress(OSError):
            if self._hangups is not None:
                self._hangups.remove(entry.fd)

    def _end(self, entry: _Entry) -> list[_Watch]:
        """Forget `entry`, and wake what waits for it. The caller holds the lock.

        Returns:
            The watches whose callbacks have not been made.
        """
        if self._by_number.get(entry.connection.id) is entry:
            del self._by_number[entry.connection.id]
        self._disarm(entry)
        watches, entry.watches = entry.watches, []
        for watch in watches:
            if watch.at_end_too:
                watch.callback()
        return [each for each in watches if not each.at_end_too]

    def _started(self) -> Hangups:
        """Start the watching if that has not been done. The caller holds the lock."""
        if self._hangups is None:
            # Before the start: where threads are greenlets, that lets others have their turn, and
            # a lock that was made before they were does not keep them out.
            hangups = self._hangups = make_hangups()
            try:
                Runner.start_thread(partial(self._run, hangups), "rawsocket-watcher")
            except RuntimeError as exc:
                self._hangups = None
                raise RawSocketError(f"connections cannot be watched: {exc}") from exc
        return self._hangups

    def _run(self, hangups: Hangups) -> None:
        while True:
            self._hear(hangups.wait())

    def _hear(self, fds: list[int]) -> None:
        """The kernel has reported of `fds`; nothing of that stays in the waiting thread."""
        # Threads that wait are woken before the first thread is started for a callback.
        for watch in [due for fd in fds for due in self._reported(fd)]:
            self._runner.submit(partial(self._call, watch))

    def _reported(self, fd: int) -> list[_Watch]:
        """The kernel has reported of `fd`: wake what waits; return the callbacks that are due."""
        with self._lock:
            entry = self._by_fd.get(fd)
            return self._wake(entry) if entry is not None and self._is_gone(entry) else []

    def _is_gone(self, entry: _Entry) -> bool:
        """Ask the kernel again; that is not for the application. The caller holds the lock."""
        was_seen = entry.is_seen_gone
        found = _is_gone(entry.connection)
        entry.is_seen_gone = was_seen
        return found

    def peer_has_left(self, connection: Connection) -> None:
        """The peer has ended the request in hand, of which the kernel knows nothing."""
        with self._lock:
            entry = self._by_number.get(connection.id)
            due = self._wake(entry) if entry is not None else []
        for watch in due:
            self._runner.submit(partial(self._call, watch))

    def _wake(self, entry: _Entry) -> list[_Watch]:
        """Wake what waits; return the callbacks that are due. The caller holds the lock."""
        self._disarm(entry)
        for watch in [each for each in entry.watches if each.at_end_too]:
            if self._take_out(watch):
                watch.callback()
        return list(entry.watches)

    def _call(self, watch: _Watch) -> None:
        """Make a callback; not if it was taken back, or its request has ended, in the queue."""
        if self._take_out(watch):
            _make(watch)


def _make(watch: _Watch) -> None:
    try:
        watch.callback()
    except BaseException:  # a SystemExit too: other callbacks wait for this thread
        name = getattr(watch.callback, "__qualname__", repr(watch.callback))
        log.exception("The callback %s failed on %r", name, watch.entry.connection)


def _is_gone(connection: Connection) -> bool:
    """Ask the kernel again, about the connection this time."""
    try:
        return connection.is_disconnected()
    except ConnectionClosedError:
        return False  # the closing thread reports it
    except (RawSocketError, OSError):
        return True  # no answer is to be had, and the report stands
