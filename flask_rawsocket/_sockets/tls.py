"""`TrackedSSLSocket`: the server's end of a tracked connection that carries TLS.

The Connection moves here from the plain socket that is wrapped, before the handshake.  It cannot
move on: a TLS session belongs to its socket object.  So where a view takes the connection over, it
takes this very object, and it is the server's calls that do nothing from then on.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .. import sockinfo
from .._connection.state import CloseReason
from .calls import Use
from .plain import TrackedSocket
from .tracked import Tracked, WriteDeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.connection import Connection
    from .._tracking.tracker import ConnectionTracker

__all__ = ["TrackedSSLSocket", "track_tls"]

_T = TypeVar("_T")

_LONGEST_TIMEOUT: Final = 2e6
"""The seconds, 23 days, that `settimeout` is given; it takes a C int of milliseconds."""

# Not by super(), which costs a microsecond in every request.
_read: Final = ssl.SSLSocket.read
_send: Final = ssl.SSLSocket.send


class _Wrapping(threading.local):
    """What this thread is wrapping in TLS right now."""

    plain: TrackedSocket | None = None
    connection: Any = None


_wrapping: Final = _Wrapping()


class TrackedSSLSocket(Tracked, ssl.SSLSocket):
    """A TLS socket that reports to the tracker.  Only decrypted bytes count as a request's."""

    # Class attributes: SSLSocket is made by __new__ and never by __init__ (Lib/ssl.py, _create).
    _connection: Connection | None = None
    _tracker: ConnectionTracker | None = None
    _head_due: bool = False
    _in_head: bool = False
    _read_deadline: float | None = None
    _write_deadline: float | None = None
    _closes_at_once: bool = False
    _reporting: bool = False
    _ended: bool = False
    _submit_close: Callable[[Callable[[], object]], object] | None = None
    _server_thread: int | None = None
    """The thread whose calls do nothing: a server's, that has let go and does not know it."""
    _use: Use | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> TrackedSSLSocket:  # noqa: PYI034
        """Take over the connection of the socket that this thread is wrapping.

        Here, because what `_create` does next may fail, and closes the socket then.
        """
        self = super().__new__(cls, *args, **kwargs)
        plain, connection = _wrapping.plain, _wrapping.connection
        if plain is not None:
            self._connection, self._tracker = connection, plain._tracker
            self._in_head, self._read_deadline = plain._in_head, plain._read_deadline
            # It may have been aborted before its handshake.
            self._closes_at_once = plain._closes_at_once
            self._write_deadline = plain._write_deadline
            # `_create` does this next: till then whoever asks the Connection would find it closed.
            socket.socket.__init__(self, *args, **kwargs)
            connection._sock = self
            connection._is_tls = True
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
        if not isinstance(sock, TrackedSocket) or sock._connection is None:
            # Wrapped by somebody who is no server of ours.
            kwargs["do_handshake_on_connect"] = do_handshake_on_connect
            return super()._create(sock, *args, **kwargs)  # type: ignore[misc,no-any-return]
        connection, sock._connection = sock._connection, None
        _wrapping.plain, _wrapping.connection = sock, connection
        try:
            self = super()._create(sock, *args, do_handshake_on_connect=False, **kwargs)  # type: ignore[misc]
        except BaseException as exc:
            if connection._sock is sock:
                sock._connection = connection
            _note_interrupt(connection, exc)
            if connection._sock is not None:
                connection._sock.close()
            raise
        finally:
            _wrapping.plain = _wrapping.connection = None
        self.do_handshake_on_connect = do_handshake_on_connect
        if do_handshake_on_connect:
            try:
                self.do_handshake()
            except BaseException as exc:
                _note_interrupt(connection, exc)
                self.close()
                raise
        self._head_due = True
        return self  # type: ignore[no-any-return]

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002
        """Shake hands as ``SSLSocket.do_handshake`` does, within the time that a head has."""
        if self._tracker is None or self.gettimeout() is not None:
            super().do_handshake(block)
            return
        if self._read_deadline is None:
            self.expect_head()
        if self._read_deadline is None:
            super().do_handshake(block)
        else:
            self._in_time(super().do_handshake, block)

    def give_away(self) -> TrackedSSLSocket:
        """Give this very socket: a TLS session cannot move to another (see `ignore_server`)."""
        self._head_due = False
        self.head_complete()
        self.request_ended()
        self._use = self._use or Use()
        return self

    def ignore_server(self) -> None:
        """From now on this thread's calls do nothing: its view has returned, the server is back.

        The owner may be this thread's view, so it is not before; and any other thread is the
        owner's.
        """
        self._server_thread = threading.get_ident()

    def server_done(self) -> None:
        """Let this thread's calls through again: the server has forgotten the socket."""
        self._server_thread = None
        if self._ended:
            return  # by its owner, whose close() returns when the CLOSED hooks have run
        if self._closed and self._io_refs <= 0 and self.fileno() >= 0:  # type: ignore[attr-defined]
            # Its owner has closed it, and the server the last file, whose call was ignored.
            self._real_close()

    def _is_ignored(self) -> bool:
        return self._server_thread == threading.get_ident()

    def close(self) -> None:
        """Close as ``SSLSocket.close`` does."""
        if not self._is_ignored():
            super().close()

    def shutdown(self, how: int) -> None:
        """Shut down as ``SSLSocket.shutdown`` does; once there is an owner, keep the session.

        That one drops it, and what the owner wrote afterwards would go out in the clear.
        """
        if self._is_ignored():
            raise OSError(errno.ENOTCONN, "the connection has been taken over")
        if self._use is None:
            super().shutdown(how)
        else:
            socket.socket.shutdown(self, how)

    def unwrap(self) -> socket.socket:
        """Say goodbye as ``SSLSocket.unwrap`` does."""
        use = self._use
        if use is None:
            return super().unwrap()
        use.begin()
        try:
            return super().unwrap()
        finally:
            use.done()

    def send(self, data: Any, flags: int = 0) -> int:
        """Write as ``SSLSocket.send`` does, before the write deadline."""
        use = self._use
        if use is not None:
            if self._is_ignored():
                raise OSError(errno.EPIPE, "the connection has been taken over")
            use.begin()
        try:
            if self._write_deadline is None:
                return _send(self, data, flags)
            return self._within(self._write_left(), _send, self, data, flags)
        except TimeoutError as exc:
            if self._write_deadline is None:
                raise
            raise WriteDeadlineError("the write deadline has passed") from exc
        finally:
            if use is not None:
                use.done()

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002
        """Read as ``SSLSocket.read`` does, and report the first byte of a request."""
        use = self._use
        if use is not None:
            if self._is_ignored():
                raise OSError(errno.EBADF, "the connection has been taken over")
            use.begin()
        try:
            if self._read_deadline is None:
                got = _read(self, len, buffer)
            else:
                got = self._in_time(_read, self, len, buffer)
        finally:
            if use is not None:
                use.done()
        if got:
            if self._head_due:
                self.request_begun()
        elif self._connection is not None and self._connection._ending is None:
            # A close_notify without a FIN: the kernel would still call the connection open.
            self._connection._ending = CloseReason.CLIENT
        return got

    def _in_time(self, read: Callable[..., _T], /, *args: Any) -> _T:
        """Call `read`, which may wait until its deadline and no longer.

        By a timeout of the socket's: a record, let alone a handshake, takes several reads.
        """
        left, before = self._time_left(), self.gettimeout()
        self.settimeout(min(left, _LONGEST_TIMEOUT))
        try:
            return read(*args)
        except TimeoutError:
            raise self._too_late() from None
        finally:
            if self.fileno() >= 0:
                self.settimeout(before)

    def _within(self, seconds: float, call: Callable[..., _T], /, *args: Any) -> _T:
        before = self.gettimeout()
        self.settimeout(min(seconds, _LONGEST_TIMEOUT))
        try:
            return call(*args)
        finally:
            if self.fileno() >= 0:
                self.settimeout(before)


def _note_interrupt(connection: Any, exc: BaseException) -> None:
    if isinstance(exc, KeyboardInterrupt):  # on the main thread, which is to stop
        connection._ending = CloseReason.SHUTDOWN


def track_tls(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let the sockets that `context` wraps be tracked like those they wrap; give `context`.

    Raises:
        TypeError: the context makes sockets of a class of its own, which could not be.
    """
    made = context.sslsocket_class
    if made is ssl.SSLSocket:
        context.sslsocket_class = TrackedSSLSocket
        # Here, and not on every call: gunicorn may be given the same context for each connection.
        sockinfo.remember_server_name(context)
    elif not issubclass(made, TrackedSSLSocket):
        raise TypeError(
            f"the SSLContext makes {made.__qualname__}; derive it from TrackedSSLSocket"
        )
    return context
