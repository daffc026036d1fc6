"""`TrackedSSLSocket`: the server's end of a tracked connection that carries TLS.

The Connection moves here from the plain socket that is wrapped, before the handshake, and cannot
move on. A view that hijacks the connection gets this very object (see `tracked`).
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .._connection.connection import life_of
from .._connection.life import moving
from .handshake import note_interrupt
from .plain import TrackedSocket
from .rates import BodyWait, ResponseWait
from .session import Session
from .ticking import TICK, TickingSSLSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from .duties import Duties

__all__ = ["TrackedSSLSocket"]

_T = TypeVar("_T")

_SLICE: Final = 65536
"""How much is encrypted in one call: of a longer one nobody could tell how far it has come."""

_WAIT: Final = 0.001
"""The seconds from which on a read has waited; decrypting takes less."""

# Not by super(), which costs a microsecond in every request.
_read: Final = ssl.SSLSocket.read
_send: Final = ssl.SSLSocket.send


class _Wrapping(threading.local):
    """What this thread is wrapping in TLS right now."""

    plain: TrackedSocket | None = None


_wrapping: Final = _Wrapping()


class TrackedSSLSocket(Session, TickingSSLSocket):
    """A TLS socket that reports to the tracker. Only decrypted bytes count as a request's."""

    stands_for = ssl.SSLSocket
    """What a context makes that is not ours."""

    def __new__(cls, *args: Any, **kwargs: Any) -> TrackedSSLSocket:  # noqa: PYI034
        """Take over the connection that this thread wraps: what `_create` does next may fail."""
        self = super().__new__(cls, *args, **kwargs)
        plain = _wrapping.plain
        if plain is not None:
            with moving():
                duties = plain.drop_duties()
                if duties is None:
                    raise OSError(errno.EBADF, "the socket has been closed")
                # `_create` does the next two as well; until then both would have the descriptor.
                socket.socket.detach(plain)
                socket.socket.__init__(self, *args, **kwargs)
                self.take_up(duties)
        return self

    @classmethod
    def _create(
        cls,
        sock: socket.socket,
        *args: Any,
        do_handshake_on_connect: bool = True,
        **kwargs: Any,
    ) -> TrackedSSLSocket:
        """Wrap `sock`; its Connection moves along before the handshake, which may fail."""
        if not isinstance(sock, TrackedSocket) or sock.connection is None:
            # Wrapped by code that is not a server of ours.
            kwargs |= {"do_handshake_on_connect": do_handshake_on_connect}
            return super()._create(sock, *args, **kwargs)  # type: ignore[misc,no-any-return]
        life = life_of(sock.connection)
        _wrapping.plain = sock
        try:
            self = super()._create(sock, *args, do_handshake_on_connect=False, **kwargs)  # type: ignore[misc]
        except BaseException as exc:
            note_interrupt(life, exc)
            if life.sock is not None:
                life.sock.close()
            raise
        finally:
            _wrapping.plain = None
        self.do_handshake_on_connect = do_handshake_on_connect
        if do_handshake_on_connect:
            try:
                self.do_handshake()
            except BaseException as exc:
                note_interrupt(life, exc)
                self.close()
                raise
        if self.duties is not None:
            self.duties.head_due = True
        return self  # type: ignore[no-any-return]

    def _shake_hands(self, duties: Duties, *block: bool) -> None:
        if self.gettimeout() is not None:
            ssl.SSLSocket.do_handshake(self, *block)
            return
        if duties.read is None:
            duties.start_clock()
        if duties.read is None:
            self.through_ticks(ssl.SSLSocket.do_handshake, self, *block)
        else:
            self._in_time(duties, ssl.SSLSocket.do_handshake, self, *block)

    def may_tick(self) -> bool:
        """Tell whether this is the server's; its owner may use it as a socket that blocks."""
        return self.duties is not None and self.duties.calls is None

    def unwrap(self) -> socket.socket:
        """Say goodbye as ``SSLSocket.unwrap`` does."""
        calls = self.duties.calls if self.duties is not None else None
        if calls is None:
            return self.through_ticks(super().unwrap)
        with calls:
            return super().unwrap()

    def _send_in_time(self, duties: Duties, data: Any, flags: int) -> int:
        if self.ticks and len(data) > _SLICE:
            view = memoryview(data).cast("B")
            slices = (view[at : at + _SLICE] for at in range(0, len(view), _SLICE))
            return sum(self._send_in_time(duties, each, flags) for each in slices)
        no_limit = duties.write is None
        if no_limit and (done := self.until_tick(_send, self, data, flags)) is not None:
            return done
        wait = ResponseWait(self, duties, len(data))
        wait.waited(TICK if no_limit else 0)
        count = self.while_allowed(wait, _send, self, data, flags)
        wait.sent(count)
        return count

    def read_raw(self, size: int, buffer: Any) -> Any:
        """Read what has come, past TLS."""
        raw = socket.socket
        return raw.recv(self, size) if buffer is None else raw.recv_into(self, buffer, size)

    def _read_in_time(self, duties: Duties, size: int, buffer: Any) -> Any:
        if not self.ticks and (duties.read is None or self.gettimeout() == 0):
            return _read(self, size, buffer)  # with a timeout of the view's, or waiting for nothing
        got: Any = None
        if duties.read is None and (duties.rates is None or self.pending()):
            began = time.monotonic()
            got = self.until_tick(_read, self, size, buffer)
            if (seconds := time.monotonic() - began) > _WAIT:
                BodyWait(self, duties).waited(seconds)
        if got is None:
            got = self.while_allowed(BodyWait(self, duties), _read, self, size, buffer)
        duties.received += got if buffer is not None else len(got)
        return got

    def _in_time(self, duties: Duties, call: Callable[..., _T], /, *args: Any) -> _T:
        """Make `call`, a handshake, which may wait until the deadline and no longer."""
        try:
            return self.within(duties.read_left(), call, *args)
        except TimeoutError:
            raise duties.too_late() from None
