"""`HTTP2Exchange`: a request that is a stream of an HTTP/2 connection.

Its peer may reset it and keep the connection. gunicorn reads between two streams only; where the
view asks whether its client is there, what has come is read, by gunicorn's own parser.
"""

from __future__ import annotations

import contextlib
import errno
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from gunicorn.http2.errors import HTTP2Error, HTTP2ErrorCode
from werkzeug.exceptions import ClientDisconnected

from .. import _body_errors
from .._connection import exchange
from .._sockets.deadlines import READ
from .._sockets.plain import DONT_WAIT
from ..errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HTTP2Exchange"]

_READS: Final = 16
"""How often what has come is read at most, when a view asks."""

_NOTHING_YET: Final = (BlockingIOError, TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class HTTP2Exchange(exchange.Exchange):
    """A stream of an HTTP/2 connection: it cannot take the connection of all.

    Args:
        h2: gunicorn's connection.
        stream: gunicorn's stream.
        tell: called once it is seen that the peer has reset the stream.
    """

    __slots__ = ("_h2", "_has_left", "_stream", "_tell", "_was_aborted", "must_be_asked")

    must_be_asked: bool
    """Whether the stream's end is seen where somebody asks: gunicorn keeps requests that come
    meanwhile, which it does from 27.0 on."""

    def __init__(self, h2: Any, stream: Any, tell: Callable[[], object]) -> None:
        super().__init__()
        self._tell = tell
        self._h2 = h2
        self._stream = stream
        self._has_left = False
        self._was_aborted = False
        self.must_be_asked = hasattr(h2, "pump") and hasattr(h2, "pending_requests")

    def peer_has_left(self) -> bool:
        """Tell whether the peer has reset the stream; in the thread that serves it, read for that.

        Any other thread knows what that one has seen.
        """
        if self.must_be_asked and threading.get_ident() == self.thread:
            self._read_what_has_come()
        if self._is_disconnected():
            self._note_end()
        return self._has_left

    @property
    def has_left(self) -> bool:
        """Whether it is known that the peer, not the application, has ended the stream."""
        return not self._was_aborted and (self._has_left or self._is_disconnected())

    def _is_disconnected(self) -> bool:
        # Not its state: that is closed too when the response has ended.
        return bool(getattr(self._stream, "disconnected", False))

    def _note_end(self) -> None:
        has_known, self._has_left = self._has_left, True
        if not (has_known or self._was_aborted):
            self._tell()

    def _read_what_has_come(self) -> None:
        h2 = self._h2
        try:
            for _ in range(_READS):
                data = None if h2.is_closed else _read_at_once(h2.sock, h2.READ_BUFFER_SIZE)
                if not data:
                    return  # of the connection's end the kernel knows
                requests = h2.receive_data(data)
                h2.pending_requests.extend(requests)  # which that may have replaced
        except _NOTHING_YET:
            return
        except (OSError, HTTP2Error) as exc:
            # If our side has closed the socket, it is not the peer who has.
            if getattr(exc, "errno", None) != errno.EBADF:
                self._note_end()
        finally:
            self._drop_if_over()

    def _drop_if_over(self) -> None:
        """The peer may have ended the connection by HTTP/2: then have gunicorn send nothing more.

        It would take the refusal of the library below it for a failure of the application's.
        """
        if self.must_be_asked and self._h2.is_closed:
            self._h2.abort_stream(self._stream.stream_id, HTTP2ErrorCode.CANCEL)

    def abort(self) -> bool:
        """Reset the stream; tell whether that has been done: only its own thread can do it."""
        abort = getattr(self._h2, "abort_stream", None)
        if abort is None or threading.get_ident() != self.thread:
            return False
        self._was_aborted = not self._is_disconnected()
        abort(self._stream.stream_id, HTTP2ErrorCode.CANCEL)
        return True

    def read_failed(self, exc: BaseException) -> Exception | None:
        """Return a 4xx where the client has failed to send its body whole and in time.

        gunicorn resets a stream whose body does not come in time: nobody will be answered.
        """
        if isinstance(exc, HTTP2Error):
            self._drop_if_over()
            deadline = self._h2.sock.duties.read
            if deadline is not None and deadline <= time.monotonic():
                return _body_errors.ReadDeadlineError("the read deadline has passed")
            return ClientDisconnected()
        return _body_errors.http_error(exc)

    def force_close(self) -> None:
        """Do nothing: HTTP/2 says GOAWAY, once the streams that have come are answered."""

    def refusal(self) -> Exception:
        """Return the reason why the server cannot let go of the connection."""
        return UnsupportedError("an HTTP/2 connection is shared by its streams: no hijack")

    def has_begun(self) -> bool:
        return True

    def _may_have_lost(self) -> bool:
        return True  # gunicorn's body drops what a read that fails has collected

    def _unreachable(self, *_: Any) -> Any:
        raise self.refusal()

    let_go = no_response = _may_read_yet = _has_sent_head = _unreachable
    complain: Any = _unreachable
    _is_in_chunked_body = _take_read_ahead = _unreachable
    _send: Any = _unreachable


def _read_at_once(sock: Any, size: int) -> bytes | None:
    """Read what is there; None if that is nothing, or a part of a TLS record."""
    if not sock.is_ready(READ, 0) and not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
        return None
    timeout, duties = sock.gettimeout(), sock.duties
    # That is for what the view reads, and may have passed long ago.
    deadline, duties.read = duties.read, None
    sock.settimeout(0)
    try:
        # TLS takes no flags, and a plain socket of ours may wait with a timeout of its own.
        flags = () if isinstance(sock, ssl.SSLSocket) else (DONT_WAIT,)
        data: bytes = sock.recv(size, *flags)
        return data
    finally:
        duties.read = deadline
        with contextlib.suppress(OSError):  # it is closed
            sock.settimeout(timeout)
