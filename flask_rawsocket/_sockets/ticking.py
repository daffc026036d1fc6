"""`TickingSSLSocket`: a TLS socket that blocks, and yet can be called off.

OpenSSL reads and writes as often as a record takes, and on a blocking socket nobody can limit that.
A timeout can; but to set one, and to lift it, are two system calls for every read and write. So the
server's TLS sockets have one all the time, which stands for none: a call that has waited for a tick
fails, and is made again. OpenSSL goes on where it was (SSL_write(3), SSL_read(3)).
"""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rates import BodyWait, ResponseWait

__all__ = ["RECORD", "TICK", "TickingSSLSocket"]

_T = TypeVar("_T")

RECORD: Final = 16384
"""The bytes that one record holds (RFC 8446, section 5.1)."""

TICK: Final = 0.25
"""The seconds that a call may wait before it is looked at."""

_NOT_AT_ONCE: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

_LONGEST_TIMEOUT: Final = 2e6
"""The seconds, 23 days, that `settimeout` is given; it takes a C int of milliseconds."""


class TickingSSLSocket(ssl.SSLSocket):
    """An ``SSLSocket`` that ticks where it would block, if `may_tick` says so."""

    ticks = False
    """Whether its timeout is a tick, which to everybody else is none."""

    def may_tick(self) -> bool:
        """Tell whether whoever reads and writes knows what to do at a tick."""
        return False

    def settimeout(self, value: float | None) -> None:
        """Set the timeout as ``socket.settimeout`` does."""
        ticks = value is None and self.may_tick()
        super().settimeout(TICK if ticks else value)
        self.ticks = ticks

    def gettimeout(self) -> float | None:
        """Return the timeout as ``socket.gettimeout`` does."""
        return None if self.ticks else super().gettimeout()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  socket's signature
        """Block, or do not, as ``socket.setblocking`` says."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Tell whether it blocks, as ``socket.getblocking`` does."""
        return self.gettimeout() != 0

    @property
    def timeout(self) -> float | None:
        """The timeout."""
        return self.gettimeout()

    def until_tick(self, call: Callable[..., _T], /, *args: object) -> _T | None:
        """Make `call`; return what it returns, or None at a tick."""
        try:
            return call(*args)
        except TimeoutError as exc:
            if not (self.ticks and _is_tick(exc)):
                raise
        return None

    def through_ticks(self, call: Callable[..., _T], /, *args: object) -> _T:
        """Make `call` again as long as it fails by a tick; return what it returns."""
        while True:
            try:
                return call(*args)
            except TimeoutError as exc:
                if not (self.ticks and _is_tick(exc)):
                    raise

    def within(self, seconds: float, call: Callable[..., _T], /, *args: object) -> _T:
        """Make `call` with such a timeout; 0 for not waiting at all."""
        before = self.gettimeout()
        self.settimeout(min(max(seconds, 0), _LONGEST_TIMEOUT))
        try:
            return call(*args)
        finally:
            if self.fileno() >= 0:
                self.settimeout(before)

    def send_at_once(self, data: bytes | memoryview) -> int:
        """Write one record of `data` if there is room; return how much that is.

        Raises:
            SSLWantWriteError: there is none; what is written next must begin with the same bytes.
            OSError: as ``SSLSocket.send`` does.
        """
        return self.within(0, ssl.SSLSocket.send, self, data[:RECORD])

    def while_allowed(
        self, wait: BodyWait | ResponseWait, call: Callable[..., _T], /, *args: object
    ) -> _T:
        """Make `call`, tick by tick, for as long as `wait` allows.

        Raises:
            TimeoutError: a deadline has passed, or the peer is too slow.
        """
        while True:
            left, began = wait.left(), time.monotonic()
            try:
                if self.ticks and left >= TICK:
                    return call(*args)
                return self.within(left, call, *args)
            except TimeoutError as exc:
                if not _is_tick(exc):
                    raise
            except _NOT_AT_ONCE:
                if left > 0:
                    raise
            finally:
                wait.waited(time.monotonic() - began)
            if left <= 0:
                raise wait.too_slow()


def _is_tick(exc: TimeoutError) -> bool:
    """Tell whether a timeout is the socket's: of one with a number the kernel tells."""
    return exc.errno is None
