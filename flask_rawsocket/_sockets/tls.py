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

from .._connection import ending, observing
from .._connection.connection import life_of
from .._connection.life import moving
from .._connection.state import CloseReason
from .calls import CallsInProgress
from .close_notify import send_close_notify
from .handshake import note_failure, note_interrupt, noting_failure
from .plain import TrackedSocket
from .rates import BodyWait, ResponseWait
from .ticking import TICK, TickingSSLSocket
from .tracked import Tracked

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


class TrackedSSLSocket(Tracked, TickingSSLSocket):
    """A TLS socket that reports to the tracker. Only decrypted bytes count as a request's."""

    # A class attribute: SSLSocket is made by __new__ and never by __init__ (Lib/ssl.py, _create).
    duties: Duties | None = None

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
                self.duties = duties
                duties.head_due = False
                duties.life.sock = self
                duties.life.is_tls = True
                if observing.current is not None and duties.connection is not None:
                    observing.current.handshake_begun(duties.connection)
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

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002
        """Shake hands as ``SSLSocket.do_handshake`` does, within the time that a head has."""
        duties = self.duties
        if duties is None:
            super().do_handshake(block)
            return
        with noting_failure(duties.life):
            self._shake_hands(duties, block)
        if observing.current is not None and duties.connection is not None:
            observing.current.handshake_done(duties.connection)

    def _shake_hands(self, duties: Duties, block: bool) -> None:  # noqa: FBT001
        if self.gettimeout() is not None:
            super().do_handshake(block)
            return
        if duties.read is None:
            duties.start_clock()
        if duties.read is None:
            self.through_ticks(super().do_handshake, block)
        else:
            self._in_time(duties, super().do_handshake, block)

    def may_tick(self) -> bool:
        """Tell whether this is the server's; its owner may use it as a socket that blocks."""
        return self.duties is not None and self.duties.calls is None

    def give_away(self) -> TrackedSSLSocket:
        """Return this very socket: a TLS session cannot move to another (see `ignore_server`)."""
        with moving():
            duties = self.duties_to_move()
            duties.head_due = False
            duties.head_complete()
            duties.lift()
            duties.calls = duties.calls or CallsInProgress()
            if self.ticks:
                self.settimeout(None)
        return self

    def ignore_server(self) -> None:
        """From now on this thread's calls do nothing: its view has returned, the server is back.

        Not before: the owner may be this thread's view; and any other thread is the owner's.
        """
        if self.duties is not None:
            self.duties.ignored_thread = threading.get_ident()

    def hear_server_again(self) -> None:
        """Let this thread's calls through again: the server has forgotten the socket."""
        if self.duties is None:
            return
        self.duties.ignored_thread = None
        if self.duties.ended:
            return  # by its owner, whose close() returns when the CLOSED hooks have run
        if self._closed and self._io_refs <= 0 and self.fileno() >= 0:  # type: ignore[attr-defined]
            # Its owner has closed it, and the server the last file, whose call was ignored.
            self._real_close()

    def _is_ignored(self) -> bool:
        duties = self.duties
        return duties is not None and duties.ignored_thread == threading.get_ident()

    def close(self) -> None:
        """Close as ``SSLSocket.close`` does."""
        if not self._is_ignored():
            super().close()

    def shutdown(self, how: int) -> None:
        """Shut down one or both halves, and keep the session."""
        if self._is_ignored():
            raise OSError(errno.ENOTCONN, "the connection has been hijacked")
        super().shutdown(how)

    def end_halves(self, how: int) -> None:
        """Say close_notify before the FIN (RFC 8446, section 6.1); the peer's is not waited for.

        Not as SSLSocket does: that drops the session, and what is written next goes out in the
        clear, even where only the reading half is shut down.
        """
        if how != socket.SHUT_RD:
            send_close_notify(self)
        socket.socket.shutdown(self, how)

    def unwrap(self) -> socket.socket:
        """Say goodbye as ``SSLSocket.unwrap`` does."""
        calls = self.duties.calls if self.duties is not None else None
        if calls is None:
            return self.through_ticks(super().unwrap)
        with calls:
            return super().unwrap()

    def send(self, data: Any, flags: int = 0) -> int:
        """Write as ``SSLSocket.send`` does, before the write deadline."""
        duties = self.duties
        if duties is None:
            return _send(self, data, flags)
        if duties.calls is None:
            return self._send_in_time(duties, data, flags)
        if self._is_ignored():
            raise OSError(errno.EPIPE, "the connection has been hijacked")
        with duties.calls:
            return self._send_in_time(duties, data, flags)

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

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002, C901  it is called
        """Read as ``SSLSocket.read`` does, and report the first byte of a request."""
        duties = self.duties
        if duties is None:
            return _read(self, len, buffer)
        if buffer is not None and duties.proxy_parser is not None and duties.head_due:
            return self.fill(buffer, len)
        while True:
            got = self._read_or_note(duties, len, buffer)
            if not got:
                # A close_notify without a FIN: the kernel would still call the connection open.
                ending.assume(duties.life, CloseReason.PEER_CLOSED)
            elif duties.head_due:
                if buffer is not None:
                    duties.request_begun()
                elif not (got := duties.first_bytes(got)):
                    if self.gettimeout() == 0 and not self.pending():
                        # As a plain socket's; what is pending no poller would see.
                        raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "no request")
                    len = duties.room(len)  # noqa: A001
                    continue
            return got

    def _read_or_note(self, duties: Duties, size: int, buffer: Any) -> Any:
        try:
            return self._read_if_let(duties, size, buffer)
        except OSError as exc:
            if self.version() is None or not isinstance(exc, ssl.SSLError):
                note_failure(duties.life, exc)  # gunicorn's sync worker shakes hands by reading
            raise

    def _read_if_let(self, duties: Duties, size: int, buffer: Any) -> Any:
        if duties.calls is None:
            if duties.goodbye_said:
                # A server that lets its client finish. To OpenSSL what comes after close_notify is
                # an error; the server would close, and the reset takes the response along.
                raw = socket.socket
                return raw.recv(self, size) if buffer is None else raw.recv_into(self, buffer, size)
            return self._read_in_time(duties, size, buffer)
        if self._is_ignored():
            raise OSError(errno.EBADF, "the connection has been hijacked")
        with duties.calls:
            return self._read_in_time(duties, size, buffer)

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
