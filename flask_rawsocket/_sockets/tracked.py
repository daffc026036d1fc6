"""`Tracked`: what the server's end of a connection does, be it a plain socket or a TLS one.

It tells the tracker of two things: the first byte of a request, and the end, before the descriptor
is closed. And it keeps the connection's deadlines.

The theory of the hand-over. At every moment one socket object has a connection's descriptor, and
with it the connection's `Duties`. A plain socket's descriptor moves: under the lock of `moving`
the old object is emptied, and only then is the new one made. What the server still does with the
old one fails with EBADF, and touches nothing. A TLS session belongs to its object and cannot move:
there the object stays, and it is the server's thread whose calls do nothing from then on
(`ignore_server`). The new owner's reads and writes are counted (`CallsInProgress`). A close from
another thread wakes them, and the last of them closes the descriptor, whose number the kernel and
OpenSSL may be using until then.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from .._connection import ending
from .._connection.life import moving
from .._connection.state import CloseReason
from .deadlines import ABORTED, WRITE, ready
from .goodbye import say_goodbye
from .proxied import fill

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.connection import Connection
    from .._tracking.tracker import ConnectionTracker
    from .duties import Duties

__all__ = ["Tracked"]


if TYPE_CHECKING:
    _Base = socket.socket
else:
    _Base = object


class Tracked(_Base):
    """What the plain and the TLS socket share: a mixin, to stand before the class of a socket.

    That may be Python's own, or one of a library that has others.
    """

    # Declared by its two children: one has slots, the other cannot.
    __slots__ = ()

    if TYPE_CHECKING:
        duties: Duties | None
        """None of a socket that has no connection's descriptor, or has it no more."""

        def give_away(self) -> Tracked:
            """Return the socket of the connection's new owner; this one is not the server's."""

    @property
    def connection(self) -> Connection | None:
        """The Connection that this socket is the server's end of; None once it has moved on."""
        return self.duties.connection if self.duties is not None else None

    @property
    def has_ended(self) -> bool:
        """Whether our side, in some thread, has ended the connection."""
        return self.duties is not None and self.duties.ended

    @property
    def closes_at_once(self) -> bool:
        """Whether a close waits for no peer: the connection was aborted, or said nothing."""
        return self.duties is not None and self.duties.closes_at_once

    def expect_head(self) -> None:
        """From now on a head is due in time, also where not even its first byte has come.

        For a thread that waits by reading. Where a selector waits, the first byte starts the clock.
        """
        if self.duties is not None:
            self.duties.start_clock()

    def head_complete(self) -> None:
        """The head has been read: lift its deadline."""
        if self.duties is not None:
            self.duties.head_complete()

    def lift_deadlines(self) -> None:
        """The response has ended: lift the deadlines that its view has set."""
        if self.duties is not None:
            self.duties.lift()

    def fill(self, buffer: Any, size: int, flags: int = 0) -> int:
        """Read into `buffer` what `recv` returns, which takes a PROXY protocol header out."""
        return fill(buffer, size, lambda size: self.recv(size, flags))

    def await_request(self) -> None:
        """The response is out and the connection is kept: the next byte begins a request."""
        duties = self.duties
        if duties is not None and duties.connection is not None:
            duties.head_due = True
            duties.tracker.responded(duties.connection)

    def begin_request(self) -> None:
        """A byte of a request has been read ahead.

        Raises:
            ConnectionResetError: the application has aborted the connection, and wants none.
        """
        if self.duties is not None:
            self.duties.request_begun()

    def shutdown(self, how: int) -> None:
        """Shut down one or both halves; what is read from here on begins no request.

        Why the connection ends is settled here at the latest: after a lingering close, in which
        the peer closes too, it would always look like the peer's doing.
        """
        duties = self.duties
        if duties is not None:
            duties.head_due = False
            if duties.in_head:
                # No head is awaited any more, and a lingering close has a limit of its own.
                duties.head_given_up()
            ending.settle(duties.life)
            if duties.closes_at_once:
                # There is no peer to wait for; and after a FIN a close could not be a reset.
                raise OSError(errno.ENOTCONN, "the connection is to be closed at once")
            # An owner may half-close, and close later; a server's FIN is its last word.
            duties.goodbye_said = how != socket.SHUT_RD and duties.calls is None
        self.end_halves(how)

    def end_halves(self, how: int) -> None:
        """Shut down one or both halves, and do nothing else; under TLS, say close_notify before."""
        self.shutdown_raw(how)

    def shutdown_raw(self, how: int) -> None:
        """Call shutdown(2), and nothing else: who waits in a read or a write finds the end.

        An ``SSLSocket`` would drop its session; what is written then goes out in the clear.
        """
        socket.socket.shutdown(self, how)

    def recv_raw(self, size: int, flags: int = 0) -> bytes:
        """Call recv(2), and nothing else: past TLS, and nothing is reported."""
        return socket.socket.recv(self, size, flags)

    def is_ready(self, what: int, timeout: float) -> bool:
        """Tell whether this socket is ready, after at most `timeout` seconds.

        Args:
            what: ``READ`` or ``WRITE``.
            timeout: in seconds.

        Raises:
            OSError: EBADF, another thread has closed it.
        """
        try:
            return ready(self, what, timeout)
        except ValueError:  # poll()'s word for it
            raise OSError(errno.EBADF, "the socket has been closed by another thread") from None

    def say_goodbye(self) -> None:
        """Let the peer see the end now; the close, which hooks may delay, comes later."""
        if self.duties is not None:
            say_goodbye(self, self.duties)

    def detach(self) -> int:
        """Return the descriptor, which is the caller's now; for the tracker the connection ends."""
        if self.duties is not None:
            self.duties.report_end(CloseReason.APP_CLOSED)
        return super().detach()

    def ignore_server(self) -> None:
        """Have the server's calls do nothing; a plain socket's find it emptied."""

    def hear_server_again(self) -> None:
        """The server has forgotten the socket."""

    def end(self) -> None:
        """Close the descriptor now, also where files made of the socket are still open.

        A thread that is reading or writing, or waits to, finds the end.
        """
        if self.duties is not None:
            self.duties.ended = True
        self.close()
        if self.fileno() >= 0:
            self._real_close()

    def close_via(self, submit: Callable[[Callable[[], object]], object]) -> None:
        """Let a close that has hooks to run be made by `submit`, in another thread.

        For the new owner's socket, of a connection that has been hijacked.
        """
        if self.duties is not None and self.duties.calls is not None:
            self.duties.calls.submit_close = submit

    def abort(self) -> None:
        """Write nothing any more; the server sees the end of the stream, and its close is a reset.

        ``SO_LINGER`` has been set to that effect.
        """
        if self.duties is not None:
            self.duties.closes_at_once = True
            self.duties.write = ABORTED
        self._wake()

    def duties_to_move(self) -> Duties:
        """Return the duties, which the new owner's socket is to have. The caller holds `moving`.

        Raises:
            OSError: EBADF; another thread has moved the descriptor, or is closing it.
        """
        duties = self.duties
        if duties is None or duties.reporting:
            raise OSError(errno.EBADF, "the descriptor has moved, or is being closed")
        return duties

    def _wake(self) -> None:
        """Let a thread that waits in a read or a write of this socket find the end."""
        how = socket.SHUT_RDWR
        with contextlib.suppress(OSError):  # it is closed already
            if self.duties is not None and self.duties.is_aborted and self.is_ready(WRITE, 0):
                # There is room: nobody waits to write. A FIN would make what was sent look whole.
                how = socket.SHUT_RD
        with contextlib.suppress(OSError):
            self.shutdown_raw(how)

    def _real_close(self, *args: Any) -> None:
        # The one place where the standard library closes a descriptor, after the last makefile()
        # has been closed too (Lib/socket.py); close() itself would be too early.
        duties = self.duties
        if duties is None:
            super()._real_close(*args)  # type: ignore[misc]
            return
        submit = None
        if duties.calls is not None:
            submit, duties.calls.submit_close = duties.calls.submit_close, None
        if submit is not None and _has_hooks_to_run(duties):
            moved = self.give_away()
            moved.say_goodbye()
            submit(moved.end)
            return
        with moving():
            if self.duties is not duties:
                return  # another thread has moved the descriptor: there is nothing here to close
            if duties.reporting:
                return  # the thread that reports the end closes the descriptor after the hooks
            duties.reporting = True
        try:
            if not duties.goodbye_said:
                say_goodbye(self, duties)
            duties.report_end()
        finally:
            duties.reporting = False
            self._close_descriptor(duties, *args)

    def _close_descriptor(self, duties: Duties, *args: Any) -> None:
        """Close the descriptor; where a call is in progress, wake it, and let it do that."""
        if duties.calls is None:
            super()._real_close(*args)  # type: ignore[misc]
            return
        if duties.ended and duties.calls.busy:
            # Only then: a process to which the owner has handed the connection would lose it, too.
            self._wake()
        duties.calls.end(partial(super()._real_close, *args))  # type: ignore[misc]

    def __del__(self) -> None:
        """Have a connection ended that was hijacked, and whose owner has forgotten it.

        By another thread: this may run in the middle of anything, with any lock held.
        """
        duties: Duties | None = getattr(self, "duties", None)
        connection = duties.connection if duties is not None else None
        if duties is None or connection is None:  # a duplicate, say
            super().__del__()  # type: ignore[misc]  # closes what nobody has closed
            return
        tracker: ConnectionTracker = duties.tracker
        if not tracker.is_hijacked(connection):
            return
        exchange = duties.life.exchange
        if exchange is not None:
            exchange.stream_was_forgotten = True
        # Where it was garbage in a cycle, what refers weakly to it has forgotten it already.
        duties.life.sock = self
        text = f"{connection!r} was hijacked and not closed"
        try:
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
        finally:  # a filter may make an error of it
            tracker.end_forgotten(self, duties.life)


def _has_hooks_to_run(duties: Duties) -> bool:
    connection = duties.connection
    return connection is not None and duties.tracker.has_hooks_of_end(connection)
