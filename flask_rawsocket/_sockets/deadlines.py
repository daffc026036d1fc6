"""`Deadlines`: by when reads and writes of a connection must be done.

There is the one by which a request's head must be there, and there are those that a view has set.
All are of the monotonic clock; only who reads and writes can keep them.
"""

from __future__ import annotations

import contextlib
import errno
import math
import select
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

__all__ = [
    "ABORTED",
    "READ",
    "WRITE",
    "BodyTimeoutError",
    "Deadlines",
    "HeaderTimeoutError",
    "WriteDeadlineError",
    "ready",
    "wait_again",
]

ABORTED: Final = -math.inf
"""The write deadline of a connection that has been aborted: before any time."""

_LONGEST_WAIT: Final = 3600.0
"""Seconds that one poll() may take; its argument is a C int of milliseconds."""

READ: Final = getattr(select, "POLLIN", 1)
WRITE: Final = getattr(select, "POLLOUT", 4)


class HeaderTimeoutError(Exception):
    """The head of a request did not arrive in time.

    Not an ``OSError``: servers log those as broken sockets, and answer this one with 408.
    """


class BodyTimeoutError(HeaderTimeoutError):
    """The body of a request came too slowly, before its view was called."""


class WriteDeadlineError(TimeoutError):
    """The response was not written before the deadline that its view has set."""


class Deadlines:
    """The deadlines of one connection; None where there is none.

    Attributes:
        read: by when the next read must have begun to yield something.
        write: by when writing must be done; `ABORTED` once nothing may be written.
        in_head: whether `read` is that of a request's head.
    """

    __slots__ = ("in_head", "read", "write")

    def __init__(self) -> None:
        self.read: float | None = None
        self.write: float | None = None
        self.in_head = False

    @property
    def is_aborted(self) -> bool:
        """Whether nothing may be written any more."""
        return self.write == ABORTED

    def head_complete(self) -> None:
        """The head has been read: lift its deadline."""
        self.in_head = False
        self.read = None

    def set_write(self, deadline: float | None) -> None:
        """Let writes fail from `deadline` on, unless the connection has been aborted."""
        if not self.is_aborted:
            self.write = deadline

    def lift(self) -> None:
        """Lift the deadlines that a view has set; its response has ended."""
        self.read = None
        if self.write != ABORTED:
            self.write = None

    def read_left(self) -> float:
        """Return the seconds until the next read is too late.

        Raises:
            TimeoutError: it is too late already.
            HeaderTimeoutError: likewise, and a head was due.
        """
        remaining = math.inf if self.read is None else self.read - time.monotonic()
        if remaining <= 0:
            raise self.too_late()
        return remaining

    def write_left(self) -> float:
        """Return the seconds until the next write is too late.

        Raises:
            BrokenPipeError: the connection has been aborted.
            WriteDeadlineError: it is too late already.
        """
        if self.is_aborted:
            raise BrokenPipeError(errno.EPIPE, "the connection has been aborted")
        remaining = math.inf if self.write is None else self.write - time.monotonic()
        if remaining <= 0:
            raise WriteDeadlineError("the write deadline has passed")
        return remaining

    def too_late(self) -> Exception:
        """Return the error for a read past its deadline."""
        return TimeoutError("the read deadline has passed")


def wait_again(sock: socket.socket) -> None:
    """Let `sock` block without a limit again: a timeout that a view has set ends with its request.

    Its next reader may be the server's main thread, which would wait for that long.
    """
    if sock.gettimeout() is not None:
        with contextlib.suppress(OSError):  # it is closed
            sock.settimeout(None)


def ready(sock: socket.socket, what: int, timeout: float) -> bool:
    """Tell whether `sock` is ready, after at most `timeout` seconds.

    Args:
        sock: an open socket.
        what: `READ` or `WRITE`.
        timeout: in seconds.
    """
    if not hasattr(select, "poll"):  # Windows
        socks = [sock]
        reading, writing = (socks, []) if what == READ else ([], socks)
        return any(select.select(reading, writing, [], min(timeout, _LONGEST_WAIT)))
    poller = select.poll()
    poller.register(sock, what)
    return bool(poller.poll(math.ceil(min(timeout, _LONGEST_WAIT) * 1000)))
