"""`MinRates`: how fast a request's body must come, and how fast its response must be read.

They are Kestrel's (``MinDataRate`` of ASP.NET Core): past the grace a rate is enforced, which is
the average since the request began. Only the time counts in which the peer was waited for. What is
here costs nothing until somebody has to wait.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Final

from .. import sockinfo
from .._connection.address import AF_UNIX
from ..errors import RawSocketError
from .deadlines import READ, WRITE, WriteDeadlineError

if TYPE_CHECKING:
    from .duties import Duties
    from .tracked import Tracked

__all__ = ["UNLIMITED", "BodyWait", "MinRates", "ResponseWait"]

_STEP: Final = 8192
"""The bytes that a TCP peer may have read before its kernel opens the window again: a sixteenth of
its buffer, or a segment (__tcp_select_window, net/ipv4/tcp_output.c)."""

_UNIX_STEP: Final = 36864
"""And those that a UNIX peer may have read of one buffer, which is freed when all of it has been
(unix_stream_sendmsg, net/unix/af_unix.c)."""


class MinRates:
    """The rates that hold for one request, and how long its peer has been waited for.

    Attributes:
        read: the bytes a second at which the body must come; None or 0 for any.
        write: those at which the response must be read; likewise.
        grace: the seconds of waiting before a rate is enforced.
        read_waited: the seconds in which the body has been waited for.
        write_waited: those in which a write has waited.
        taken: the bytes of the response that the peer has taken while a write waited.
    """

    __slots__ = ("grace", "read", "read_waited", "taken", "write", "write_waited")

    def __init__(self, read: float | None, write: float | None, grace: float) -> None:
        self.read = read
        self.write = write
        self.grace = grace
        self.read_waited = 0.0
        self.write_waited = 0.0
        self.taken = 0


UNLIMITED: Final = MinRates(None, None, 0)
"""Those of a connection on which no rate is kept: HTTP/2."""


class BodyWait:
    """A read that has to wait, until its deadline and at the minimum rate.

    Args:
        sock: whose read.
        duties: of the socket.
    """

    __slots__ = ("_duties", "_rates", "_sock")

    def __init__(self, sock: Tracked, duties: Duties) -> None:
        self._sock = sock
        self._duties = duties
        self._rates = duties.body_rates()

    @property
    def is_due(self) -> bool:
        """Whether there is a deadline; or a rate, and no timeout of the view's that takes over."""
        if self._duties.read is not None:
            return True
        return self._rates is not None and self._sock.gettimeout() is None

    def left(self) -> float:
        """Return the seconds for which it may wait; none or less if the peer is too slow.

        Raises:
            TimeoutError: the read deadline has passed.
            HeaderTimeoutError: likewise, and a head was due.
        """
        rates, left = self._rates, self._duties.read_left()
        if rates is None or not rates.read:
            return left
        allowed = max(rates.grace, self._duties.received / rates.read)
        return min(left, allowed - rates.read_waited)

    def waited(self, seconds: float) -> None:
        """It has waited for so long."""
        if self._rates is not None:
            self._rates.read_waited += seconds

    def until_ready(self, what: int = READ) -> None:
        """Return when there is something to read.

        Args:
            what: `WRITE` where a read of TLS has to write first.

        Raises:
            TimeoutError: the read deadline has passed, or the peer is too slow.
            HeaderTimeoutError: the head has not come in time.
        """
        while True:
            left = self.left()
            began = time.monotonic()
            is_ready = self._sock.is_ready(what, max(left, 0))
            self.waited(time.monotonic() - began)
            if is_ready:
                return
            if left <= 0:
                raise self.too_slow()

    def too_slow(self) -> Exception:
        """Return the error for a body that comes too slowly."""
        return self._duties.too_slow()


class ResponseWait:
    """A write that has to wait, until its deadline and at the minimum rate.

    What the peer has taken is what the kernel has got rid of since the wait began. Its own buffer
    may hold megabytes, which say nothing of the peer.

    Args:
        sock: whose write.
        duties: of the socket.
        size: the bytes that may be on their way without our having been told.
    """

    __slots__ = ("_duties", "_queued", "_rates", "_sock", "_unseen")

    def __init__(self, sock: Tracked, duties: Duties, size: int = 0) -> None:
        self._sock = sock
        self._duties = duties
        self._rates = duties.response_rates()
        if self._rates is not None:
            self._unseen = size + _step(sock)
            self._queued = _send_queue(sock)

    @property
    def is_due(self) -> bool:
        """Whether there is a deadline; or a rate, and no timeout of the view's that takes over."""
        if self._duties.write is not None:
            return True
        return self._rates is not None and self._sock.gettimeout() is None

    def left(self) -> float:
        """Return the seconds for which it may wait; none or less if the peer is too slow.

        Raises:
            BrokenPipeError: the connection has been aborted.
            WriteDeadlineError: the write deadline has passed.
        """
        rates, left = self._rates, self._duties.write_left()
        if rates is None or not rates.write:
            return left
        taken = rates.taken + self._progress() + self._unseen
        return min(left, max(rates.grace, taken / rates.write) - rates.write_waited)

    def waited(self, seconds: float) -> None:
        """It has waited for so long."""
        if self._rates is not None:
            self._rates.write_waited += seconds

    def sent(self, count: int) -> None:
        """So many bytes have been written; the next wait begins from here."""
        if self._rates is not None:
            self._rates.taken += self._progress(count)
            self._queued = _send_queue(self._sock)

    def until_ready(self, what: int = WRITE) -> None:
        """Return when there is room to write.

        Args:
            what: `READ` where a write of TLS has to read first.

        Raises:
            BrokenPipeError: the connection has been aborted.
            WriteDeadlineError: the write deadline has passed, or the peer is too slow.
        """
        while True:
            left = self.left()
            began = time.monotonic()
            is_ready = self._sock.is_ready(what, max(left, 0))
            self.waited(time.monotonic() - began)
            if is_ready:
                return
            if left <= 0:
                raise self.too_slow()

    def _progress(self, count: int = 0) -> int:
        """Return what the peer has taken since the last look, with `count` bytes written since."""
        before, now = self._queued, _send_queue(self._sock)
        return count if before is None or now is None else max(0, before + count - now)

    def too_slow(self) -> WriteDeadlineError:
        """Return the error for a response that is read too slowly."""
        return self._duties.read_too_slowly()


def _send_queue(sock: socket.socket) -> int | None:
    """Return what the kernel has not got rid of; None where it does not say."""
    try:
        return sockinfo.send_queue(sock)
    except RawSocketError:  # also where another thread has closed it; the write will say so
        return None


def _step(sock: socket.socket) -> int:
    """Return how much the peer may have read, at most, without our kernel having heard of it."""
    try:
        if _send_queue(sock) is None:
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        if sock.family == AF_UNIX:
            return _UNIX_STEP
        return max(_STEP, sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
    except (OSError, AttributeError):  # it is closed; or Windows, which has no TCP_MAXSEG
        return _STEP
