"""`Tracked`: what the server's end of a connection does, be it a plain socket or a TLS one.

It tells the tracker of two things: the first byte of a request, and the end, before the descriptor
is closed.  And it keeps deadlines, since only who reads and writes can: the one by which a
request's head must be there, and those that a view has set.
"""

from __future__ import annotations

import contextlib
import errno
import math
import select
import socket
import threading
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._connection.state import CloseReason, ConnState
from .._tracking.tracker import guess_reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.connection import Connection
    from .._tracking.tracker import ConnectionTracker
    from .calls import Use

__all__ = [
    "ABORTED",
    "READ",
    "WRITE",
    "HeaderTimeoutError",
    "Tracked",
    "WriteDeadlineError",
    "ready",
]

ABORTED: Final = -math.inf
"""The write deadline of a connection that has been aborted: before any time."""

_LONGEST_WAIT: Final = 3600.0
"""Seconds that one poll() may take; its argument is a C int of milliseconds."""


class HeaderTimeoutError(Exception):
    """The head of a request did not arrive in time.

    No ``OSError``: servers log those as broken sockets, and this one they are to answer with 408.
    """


class WriteDeadlineError(TimeoutError):
    """The response was not written before the deadline that its view has set."""


class Tracked(socket.socket):
    """What the plain and the TLS socket share: reports to the tracker, and the head's deadline."""

    # Its fields are declared by its two children: one has slots, the other cannot.
    __slots__ = ()

    if TYPE_CHECKING:

        def give_away(self) -> Tracked:
            """Give the socket of the connection's new owner; this one is the server's no more."""

        _connection: Connection | None
        _tracker: ConnectionTracker | None
        _head_due: bool
        _in_head: bool
        _read_deadline: float | None
        _write_deadline: float | None
        _closes_at_once: bool
        _reporting: bool
        _ended: bool
        _use: Use | None
        _submit_close: Callable[[Callable[[], object]], object] | None

    @property
    def connection(self) -> Connection | None:
        """The Connection that this socket is the server's end of; None once it has moved on."""
        return self._connection

    def expect_head(self) -> None:
        """From now on a head is due in time, also where not even its first byte has come.

        For a thread that waits for a request by reading.  Where a selector waits, the clock starts
        at the first byte by itself.
        """
        if self._tracker is not None:
            self._start_clock(self._tracker)

    def head_complete(self) -> None:
        """The head has been read: lift its deadline."""
        self._in_head = False
        self._read_deadline = None

    def await_request(self) -> None:
        """The response is out and the connection is kept: the next byte begins a request."""
        self._head_due = True
        if self._tracker is not None and self._connection is not None:
            self._tracker.responded(self._connection)

    def request_begun(self) -> None:
        """A byte of a request is there: the connection is ACTIVE, and its head is due in time.

        Raises:
            ConnectionResetError: the application has aborted the connection, and wants none.
        """
        self._head_due = False
        tracker, connection = self._tracker, self._connection
        if tracker is None or connection is None:
            return
        if self._closes_at_once:
            raise ConnectionResetError(errno.ECONNRESET, "the connection has been aborted")
        before = time.monotonic() if self._read_deadline is not None else None
        tracker.received(connection)
        if before is None or self._read_deadline is None:
            self._start_clock(tracker)
        elif connection._calls is not None:
            # What a hook takes is not the client's doing.
            self._read_deadline += time.monotonic() - before

    def _start_clock(self, tracker: ConnectionTracker) -> None:
        timeout = tracker.settings.header_timeout
        if timeout is not None:
            self._in_head = True
            self._read_deadline = time.monotonic() + timeout

    def shutdown(self, how: int) -> None:
        """Shut down one or both halves; what is read from here on begins no request.

        Why the connection ends is settled here at the latest: after a lingering close, in which
        the peer closes too, it would always look like the peer's doing.
        """
        self._head_due = False
        if self._in_head:
            # No head is awaited any more, and a lingering close has a limit of its own.
            self.head_complete()
        connection = self._connection
        if (
            connection is not None
            and connection._ending is None
            and connection._state is not ConnState.HIJACKED
        ):
            connection._ending = guess_reason(connection)
        if self._closes_at_once:
            # Nobody waits for this peer; and after a FIN a close could not be a reset any more.
            raise OSError(errno.ENOTCONN, "the connection is to be closed at once")
        super().shutdown(how)

    def detach(self) -> int:
        """Give the descriptor away; as far as the tracker is concerned the connection ends."""
        self._report_end(CloseReason.APP)
        return super().detach()

    def set_read_deadline(self, deadline: float | None) -> None:
        """Let reads fail with ``TimeoutError`` from `deadline` on, of the monotonic clock."""
        self._read_deadline = deadline

    def set_write_deadline(self, deadline: float | None) -> None:
        """Let writes fail with ``TimeoutError`` from `deadline` on, of the monotonic clock."""
        if not self._is_aborted:
            self._write_deadline = deadline

    def request_ended(self) -> None:
        """The response has ended: lift the deadlines that its view has set."""
        self._read_deadline = None
        self.set_write_deadline(None)

    @property
    def _is_aborted(self) -> bool:
        return self._write_deadline == ABORTED

    def end(self) -> None:
        """Close the descriptor now, also where files made of the socket are still open.

        A thread that is reading or writing, or waits to, finds the end.
        """
        self._ended = True
        self.close()
        if self.fileno() >= 0:
            self._real_close()

    def close_via(self, submit: Callable[[Callable[[], object]], object]) -> None:
        """Let a close that has hooks to run be made by `submit`, in another thread."""
        self._submit_close = submit

    def abort(self) -> None:
        """Write nothing any more; the server sees the end of the stream, and its close is a reset.

        ``SO_LINGER`` has been set to that effect.
        """
        self._closes_at_once = True
        self._write_deadline = ABORTED
        self._wake()

    def _wake(self) -> None:
        """Let a thread that waits in a read or a write of this socket find the end.

        The base class's shutdown: that of an ``SSLSocket`` drops its session, and what is written
        after it goes out in the clear.
        """
        how = socket.SHUT_RDWR
        with contextlib.suppress(OSError, ValueError):  # it is closed already
            if self._is_aborted and ready(self, WRITE, 0):
                # There is room: nobody waits to write.  A FIN would make what was sent look whole.
                how = socket.SHUT_RD
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self, how)

    def _time_left(self) -> float:
        """Give the seconds until the next read is too late."""
        deadline = self._read_deadline
        remaining = math.inf if deadline is None else deadline - time.monotonic()
        if remaining <= 0:
            raise self._too_late()
        return remaining

    def _write_left(self) -> float:
        """Give the seconds until the next write is too late."""
        deadline = self._write_deadline
        if deadline == ABORTED:
            raise BrokenPipeError(errno.EPIPE, "the connection has been aborted")
        remaining = math.inf if deadline is None else deadline - time.monotonic()
        if remaining <= 0:
            raise WriteDeadlineError("the write deadline has passed")
        return remaining

    def _too_late(self) -> Exception:
        """Give the error for a read past its deadline, be it the head's or the view's."""
        if self._in_head:
            return self._head_is_late()
        return TimeoutError("the read deadline has passed")

    def _head_is_late(self) -> HeaderTimeoutError:
        """Note whose fault it is, and give the error to raise."""
        connection = self._connection
        silent = connection is None or connection._state is not ConnState.ACTIVE
        if connection is not None:
            connection._ending = CloseReason.KEEPALIVE_TIMEOUT if silent else CloseReason.ERROR
        # Who has said nothing was told nothing, and needs no lingering close.
        self._closes_at_once = silent
        self.head_complete()
        return HeaderTimeoutError("no request came" if silent else "the head came too slowly")

    def _report_end(self, reason: CloseReason | None = None) -> None:
        connection, self._connection = self._connection, None
        if connection is None or self._tracker is None:
            return
        if self._is_aborted:
            reason = CloseReason.APP
        try:
            self._tracker.closed(connection, reason)
        finally:
            connection._sock = None

    def _real_close(self, *args: Any) -> None:
        # The one place where the standard library closes a descriptor, after the last makefile()
        # has been closed too (Lib/socket.py); close() itself would be too early.
        tracker, connection = self._tracker, self._connection
        if (
            self._submit_close is not None
            and tracker is not None
            and connection is not None
            and (connection._calls or tracker.has_hooks(ConnState.CLOSED))
        ):
            moved = self.give_away()
            try:
                self._submit_close(moved.end)
            except RuntimeError:  # the interpreter ends
                moved.end()
            return
        if self._reporting:
            return  # who is at it closes the descriptor, when the hooks have run
        self._reporting = True
        try:
            self._report_end()
        finally:
            self._reporting = False
            self._close_descriptor(*args)

    def _close_descriptor(self, *args: Any) -> None:
        """Close the descriptor; where a call is in progress, wake it, and let it do that."""
        if self._use is None:
            super()._real_close(*args)  # type: ignore[misc]
            return
        if self._ended and self._use.busy:
            # Only then: a process to which the owner has handed the connection would lose it, too.
            self._wake()
        self._use.end(partial(super()._real_close, *args))  # type: ignore[misc]

    def __del__(self) -> None:
        """End a connection that was taken over, and whose owner has forgotten it.

        In another thread: this may run amid anything, with any lock held.
        """
        connection, tracker = getattr(self, "_connection", None), getattr(self, "_tracker", None)
        if connection is None:
            # A duplicate, say.  The base class's closes what nobody has closed.
            super().__del__()  # type: ignore[misc]
            return
        if tracker is None or not tracker.is_taken(connection):
            return
        # Where it was garbage in a cycle, what refers weakly to it has forgotten it already.
        connection._sock = self
        text = f"{connection!r} was taken over and not closed"
        try:
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
        finally:  # a filter may make an error of it
            with contextlib.suppress(RuntimeError):  # the interpreter ends
                threading.Thread(target=self.end, name="rawsocket-forgotten").start()


READ: Final = getattr(select, "POLLIN", 1)
WRITE: Final = getattr(select, "POLLOUT", 4)


def ready(sock: socket.socket, what: int, timeout: float) -> bool:
    """Tell whether `sock` is ready to read or to write, after at most `timeout` seconds."""
    if not hasattr(select, "poll"):  # Windows
        socks = [sock]
        reading, writing = (socks, []) if what == READ else ([], socks)
        return any(select.select(reading, writing, [], min(timeout, _LONGEST_WAIT)))
    poller = select.poll()
    poller.register(sock, what)
    return bool(poller.poll(math.ceil(min(timeout, _LONGEST_WAIT) * 1000)))
