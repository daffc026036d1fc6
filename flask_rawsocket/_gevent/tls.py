"""`GreenletSSLSocket`: the server's end of a tracked connection that carries TLS, over gevent's.

The Connection moves here from the plain socket that is wrapped, before the handshake. gevent's
classes never call ``SSLSocket._create``: it is ``__init__`` that is given the socket to wrap.
"""

from __future__ import annotations

import errno
import ssl
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import gevent.ssl

from .._connection.life import moving
from .._sockets.deadlines import READ, WRITE
from .._sockets.handshake import note_interrupt
from .._sockets.rates import BodyWait, ResponseWait
from .._sockets.session import Session
from .sockets import GreenletSocket
from .waiting import GreenletWaiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._sockets.duties import Duties

    class Wait(Protocol):
        """Waits until a socket is ready."""

        def __call__(self, what: int) -> None: ...


__all__ = ["GreenletSSLSocket"]

_T = TypeVar("_T")

_RECORD: Final = 16384
"""The bytes that one record holds (RFC 8446, section 5.1)."""


class GreenletSSLSocket(GreenletWaiting, Session, gevent.ssl.SSLSocket):  # type: ignore[misc]
    """A TLS socket of gevent's that reports to the tracker."""

    stands_for = gevent.ssl.SSLSocket
    """What a context makes that is not ours."""

    def __init__(
        self, sock: Any = None, *args: Any, do_handshake_on_connect: bool = True, **kwargs: Any
    ) -> None:
        base: Any = gevent.ssl.SSLSocket.__init__
        if not isinstance(sock, GreenletSocket) or sock.connection is None:
            # Wrapped by code that is not a server of ours.
            kwargs["do_handshake_on_connect"] = do_handshake_on_connect
            base(self, sock, *args, **kwargs)
            return
        with moving():
            duties = sock.duties_to_move()
            sock.drop_duties()
            self.take_up(duties)
        try:
            base(self, sock, *args, do_handshake_on_connect=False, **kwargs)
        except BaseException:
            if sock.fileno() >= 0:  # this has not got the descriptor
                self.duties = None
                sock.take_up(duties)
                duties.life.sock = sock
            elif self.fileno() >= 0:  # the peer has reset it, which gevent finds in between
                self.close()
            raise
        self.do_handshake_on_connect = do_handshake_on_connect
        if do_handshake_on_connect:
            try:
                self.do_handshake()
            except BaseException as exc:
                note_interrupt(duties.life, exc)
                self.close()
                raise
        duties.head_due = True

    def _shake_hands(self, duties: Duties, *_block: bool) -> None:
        if self.timeout is None and duties.read is None:
            duties.start_clock()

        def wait(what: int) -> None:
            if self.timeout is not None or duties.read is None:
                self.wait_until_ready(what)
            elif not self.is_ready(what, duties.read_left()):
                raise duties.too_late()

        self._check_connected()
        self._until_done(wait, gevent.ssl.SSLSocket.do_handshake, self)

    def _send_in_time(self, duties: Duties, data: Any, flags: int) -> int:
        if flags or self._sslobj is None:
            return int(gevent.ssl.SSLSocket.send(self, data, flags))
        if duties.write is not None:
            duties.write_left()
        waiting: ResponseWait | None = None

        def wait(what: int) -> None:
            nonlocal waiting
            waiting = waiting or ResponseWait(self, duties, len(data))
            (waiting.until_ready if waiting.is_due else self.wait_until_ready)(what)

        count = int(self._until_done(wait, gevent.ssl.SSLSocket.write, self, data))
        if waiting is not None:
            waiting.sent(count)
        return count

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Write as ``SSLSocket.sendall`` does, before the write deadline."""
        if self.duties is None:
            super().sendall(data, flags)
            return
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self.send(rest[:_RECORD], flags) :]

    def read_raw(self, size: int, buffer: Any) -> Any:
        """Read what has come, past TLS."""
        plain = gevent.socket.socket
        if buffer is None:
            return plain.recv(self, size)
        return plain.recv_into(self, buffer, size)

    def _read_in_time(self, duties: Duties, size: int, buffer: Any) -> Any:
        if duties.read is not None and self.timeout != 0:
            duties.read_left()

        def wait(what: int) -> None:
            waiting = BodyWait(self, duties)
            (waiting.until_ready if waiting.is_due else self.wait_until_ready)(what)

        got = self._until_done(wait, gevent.ssl.SSLSocket.read, self, size, buffer)
        duties.received += got if buffer is not None else len(got)
        return got

    def _until_done(self, wait: Wait, call: Callable[..., _T], /, *args: Any) -> _T:
        """Make `call`, one of gevent's, until it need not wait for the socket any more.

        Made as if the socket did not block, so that it is us who wait.
        """
        while True:
            before = self.timeout
            self.timeout = 0.0
            try:
                return call(*args)
            except ssl.SSLWantReadError:
                if before == 0:
                    raise
                what = READ
            except ssl.SSLWantWriteError:
                if before == 0:
                    raise
                what = WRITE
            finally:
                self.timeout = before
            wait(what)
            if self.fileno() < 0:
                raise OSError(errno.EBADF, "another greenlet has closed the socket")

    def unwrap(self) -> Any:
        """Say goodbye as ``SSLSocket.unwrap`` does."""
        calls = self.duties.calls if self.duties is not None else None
        if calls is None:
            return super().unwrap()
        with calls:
            return super().unwrap()
