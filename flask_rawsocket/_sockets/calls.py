"""`CallsInProgress`: the reads and writes of a hijacked socket."""

from __future__ import annotations

import contextlib
import errno
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CallsInProgress"]


class CallsInProgress:
    """The calls in progress; when the socket has been closed, the last one out ends the descriptor.

    OpenSSL has the descriptor's number, and reads from it again and again. If it were closed during
    a call, the number could be another connection's by then, and so could the bytes.
    """

    __slots__ = ("_calls", "_close", "_idle", "_lock", "_refused", "submit_close")

    submit_close: Callable[[Callable[[], object]], object] | None
    """What has a close made in another thread; None where this one may run the hooks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Guards what follows."""
        self._idle: threading.Condition | None = None
        """Told when there is none any more. Made by who waits: it takes more than all the rest."""
        self._calls = 0
        self._close: Callable[[], object] | None = None
        self._refused = False
        """Whether no call may begin any more: the peer is being sent the end."""
        self.submit_close = None

    @property
    def busy(self) -> bool:
        """Whether a call is in progress."""
        return self._calls > 0

    def begin(self) -> None:
        """A call begins.

        Raises:
            OSError: EBADF, the socket has been closed.
        """
        with self._lock:
            ended = self._refused or self._close is not None
            self._calls += not ended
        if ended:
            raise OSError(errno.EBADF, "the connection has been closed")

    def refuse(self) -> None:
        """Let no other call begin: the caller is to send the end, and then close."""
        with self._lock:
            self._refused = True

    @contextlib.contextmanager
    def last(self) -> Iterator[None]:
        """Make a call all the same, unless the socket has been closed.

        Raises:
            OSError: EBADF, it has.
        """
        with self._lock:
            ended = self._close is not None
            self._calls += not ended
        if ended:
            raise OSError(errno.EBADF, "the connection has been closed")
        try:
            yield
        finally:
            self.done()

    def done(self) -> None:
        """A call has ended."""
        with self._lock:
            self._calls -= 1
            close = None if self._calls else self._close
            if not self._calls and self._idle is not None:
                self._idle.notify_all()
        if close is not None:
            self._end_with(close)

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *exc_info: object) -> None:
        self.done()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no call is in progress; tell whether that is so.

        Args:
            timeout: in seconds.
        """
        with self._lock:
            idle = self._idle = self._idle or threading.Condition(self._lock)
            return idle.wait_for(lambda: not self._calls, timeout)

    def end(self, close: Callable[[], object]) -> None:
        """Call `close` when no call is in progress, and let no other begin."""
        with self._lock:
            self._close = close
            busy = self._calls > 0
        if not busy:
            self._end_with(close)

    def _end_with(self, close: Callable[[], object]) -> None:
        try:
            close()
        finally:
            # It refers to the socket, which refers to this.
            self._close = _has_ended


def _has_ended() -> None:
    """Stand for a close that has been made."""
