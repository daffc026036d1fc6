"""`GreenletWaiting`: how a tracked socket of gevent's waits, is shut down, and is forgotten.

A greenlet waits in gevent's hub, where other greenlets go on; and nothing else may let them: a call
that is made while a lock is held, or from the hub itself, must not wait.
"""

from __future__ import annotations

import contextlib
import errno
import math
import time
import warnings
from typing import TYPE_CHECKING, Any, Final

import gevent.socket

from .._sockets.deadlines import READ
from .._sockets.tracked import Tracked
from ..sockinfo._systems.pristine_select import pristine
from .orphan import Orphan

if TYPE_CHECKING:
    from .._sockets.duties import Duties

__all__ = ["GreenletWaiting"]

_CHUNK: Final = 8192

_select: Any = pristine
"""The system's own, which gevent has not replaced: its poll always lets others have their turn."""


class _NotReadyError(Exception):
    """The time is over."""


class GreenletWaiting(Tracked):
    """Comes before a class of sockets of gevent's."""

    __slots__ = ()

    if TYPE_CHECKING:
        _sock: Any
        """The raw socket, which never blocks."""
        _read_event: Any
        _write_event: Any
        timeout: Any
        """The seconds that a call waits; None for as long as it takes."""

    def shutdown_raw(self, how: int) -> None:
        """Call shutdown(2), and nothing else: who waits in a read or a write finds the end.

        gevent's own has them fail with EBADF.
        """
        self._sock.shutdown(how)

    def recv_raw(self, size: int, flags: int = 0) -> bytes:
        """Call recv(2), and nothing else: past TLS, and nothing is reported."""
        data: bytes = self._sock.recv(size, flags)
        return data

    def is_ready(self, what: int, timeout: float) -> bool:
        """Tell whether this socket is ready, after at most `timeout` seconds.

        Args:
            what: ``READ`` or ``WRITE``.
            timeout: in seconds; with 0, no other greenlet has its turn.

        Raises:
            OSError: EBADF, another greenlet has closed it.
        """
        fd = self._sock.fileno()
        if fd < 0:
            raise OSError(errno.EBADF, "the socket has been closed by another greenlet")
        if timeout <= 0:
            poller = _select.poll()
            poller.register(fd, what)
            return bool(poller.poll(0))
        reading = what == READ
        event = self._read_event if reading else self._write_event
        limit = None if timeout == math.inf else timeout
        try:
            if event.callback is None:
                gevent.socket.wait(event, limit, _NotReadyError())
            else:  # one greenlet at a time can wait in it
                wait = gevent.socket.wait_read if reading else gevent.socket.wait_write
                wait(fd, limit, _NotReadyError())
        except _NotReadyError:
            return False
        return True

    def wait_until_ready(self, what: int) -> None:
        """Return when this socket is ready, within its own timeout.

        Raises:
            TimeoutError: it is not.
        """
        timeout = self.gettimeout()
        if not self.is_ready(what, math.inf if timeout is None else timeout):
            raise TimeoutError("timed out")

    def drop_rest(self, seconds: float) -> None:
        """Read, and throw away, what the peer sends until it closes (RFC 9112, section 9.6).

        Args:
            seconds: that it has for that.
        """
        deadline = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            while (left := deadline - time.monotonic()) > 0:
                if not self.is_ready(READ, left):
                    break
                data = self._sock.recv(_CHUNK)  # under TLS these are no records any more
                if not data:
                    break

    @property
    def parts(self) -> tuple[Any, Any]:
        """The raw socket, and under TLS OpenSSL's: `Life` keeps them where it does not keep this.

        Else a finalizer of the raw socket's could come before ours, and close the descriptor.
        """
        return self._sock, getattr(self, "_sslobj", None)

    def __del__(self) -> None:
        """Have a connection ended that was hijacked, and whose owner has forgotten it.

        Not by handing this object on: what a finalizer brings back to life has been taken apart,
        as far as gevent's compiled parts are concerned, and the process crashes.
        """
        duties: Duties | None = getattr(self, "duties", None)
        connection = duties.connection if duties is not None else None
        if duties is None or connection is None or not duties.tracker.is_hijacked(connection):
            return  # the raw socket closes itself
        exchange = duties.life.exchange
        if exchange is not None:
            exchange.stream_was_forgotten = True
        orphan = Orphan(self._sock, getattr(self, "_sslobj", None), duties)
        duties.life.sock = orphan
        text = f"{connection!r} was hijacked and not closed"
        try:
            warnings.warn(text, ResourceWarning, stacklevel=2)
        finally:  # a filter may make an error of it
            duties.tracker.end_forgotten(orphan, duties.life)
