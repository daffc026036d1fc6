"""`Session`: what a tracked socket does that carries TLS, whatever it is made of.

A TLS session belongs to its socket object, which stays where it is: a view that hijacks the
connection gets this very object, and it is the server's calls that do nothing from then on (see
`tracked`).
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

from .._connection import ending, observing
from .._connection.life import moving
from .._connection.state import CloseReason
from .calls import CallsInProgress
from .close_notify import send_close_notify
from .handshake import note_failure, noting_failure
from .tracked import Tracked

if TYPE_CHECKING:
    from .duties import Duties

    class _Base(Tracked, ssl.SSLSocket):
        """What the mixin stands before: a class like this one."""
else:
    _Base = Tracked

__all__ = ["Session"]


class Session(_Base):
    """A tracked TLS socket; only decrypted bytes count as a request's."""

    # A class attribute: not every class of TLS sockets calls __init__ (Lib/ssl.py, _create).
    duties: Duties | None = None

    if TYPE_CHECKING:

        def _shake_hands(self, duties: Duties, *block: bool) -> None:
            """Shake hands within the time that a head has."""

        def _send_in_time(self, duties: Duties, data: Any, flags: int) -> int:
            """Write before the write deadline."""

        def _read_in_time(self, duties: Duties, size: int, buffer: Any) -> Any:
            """Read before the read deadline."""

        def read_raw(self, size: int, buffer: Any) -> Any:
            """Read what has come, past TLS."""

    def take_up(self, duties: Duties) -> None:
        """Have the connection whose socket is being wrapped: TLS begins. Under `moving`."""
        self.duties = duties
        duties.head_due = False
        duties.life.sock = self
        duties.life.is_tls = True
        if observing.current is not None and duties.connection is not None:
            observing.current.handshake_begun(duties.connection)

    def do_handshake(self, *block: bool) -> None:
        """Shake hands as ``SSLSocket.do_handshake`` does, within the time that a head has."""
        duties = self.duties
        if duties is None:
            super().do_handshake(*block)
            return
        with noting_failure(duties.life):
            self._shake_hands(duties, *block)
        if observing.current is not None and duties.connection is not None:
            observing.current.handshake_done(duties.connection)

    def give_away(self) -> Session:
        """Return this very socket: a TLS session cannot move to another (see `ignore_server`)."""
        with moving():
            duties = self.duties_to_move()
            duties.head_due = False
            duties.head_complete()
            duties.lift()
            duties.calls = duties.calls or CallsInProgress()
            self.settimeout(self.gettimeout())  # it may not tick for its owner
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
        self.shutdown_raw(how)

    def send(self, data: Any, flags: int = 0) -> int:
        """Write as ``SSLSocket.send`` does, before the write deadline."""
        duties = self.duties
        if duties is None:
            return super().send(data, flags)
        if duties.calls is None:
            return self._send_in_time(duties, data, flags)
        if self._is_ignored():
            raise OSError(errno.EPIPE, "the connection has been hijacked")
        with duties.calls:
            return self._send_in_time(duties, data, flags)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002, C901  it is called
        """Read as ``SSLSocket.read`` does, and report the first byte of a request."""
        duties = self.duties
        if duties is None:
            return super().read(len, buffer)
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
                note_failure(duties.life, exc)  # gunicorn may shake hands by reading
            raise

    def _read_if_let(self, duties: Duties, size: int, buffer: Any) -> Any:
        if duties.calls is None:
            if duties.goodbye_said:
                # A server that lets its client finish. To OpenSSL what comes after close_notify is
                # an error; the server would close, and the reset takes the response along.
                return self.read_raw(size, buffer)
            return self._read_in_time(duties, size, buffer)
        if self._is_ignored():
            raise OSError(errno.EBADF, "the connection has been hijacked")
        with duties.calls:
            return self._read_in_time(duties, size, buffer)
