"""`Steering`: what a Connection has its server do: deadlines, ends, and letting go of it.

Nothing is done here. What the server has to do is asked of the `Keeper`, who knows the server.
"""

from __future__ import annotations

import math
import time
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import UnsupportedError
from .liveness import Liveness, PeerWatch
from .switching import switching_protocols

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .exchange import StreamHandler
    from .hijacked import HijackedSocket
    from .life import Life

__all__ = ["Keeper", "Steering"]


class Keeper(PeerWatch, Protocol):
    """Who keeps a Connection: the tracker, or the stand-in for a server that is not ours."""

    def force_close(self, connection: Any) -> None:
        """See to it that `connection` is closed once its response has been sent."""

    def hijack(self, connection: Any) -> HijackedSocket:
        """Have the server let go of `connection`; return what its new owner holds."""

    def prepare_serving(self) -> None:
        """Have the event loop ready, before a connection is hijacked for it."""

    def serve(self, connection: Any, stream: HijackedSocket, handler: StreamHandler) -> None:
        """Have `handler` serve `stream`, the one of `connection`, on the event loop."""

    def abort(self, connection: Any) -> None:
        """Reset `connection`."""

    def set_deadlines(self, connection: Any, deadlines: Mapping[str, float | None]) -> None:
        """Set deadlines of the request in hand, on the monotonic clock.

        Args:
            connection: whose request.
            deadlines: by ``read`` and ``write``; None lifts one.
        """

    def set_min_rates(self, connection: Any, rates: Mapping[str, float | None]) -> None:
        """Set the minimum data rates of the request in hand.

        Args:
            connection: whose request.
            rates: by ``read``, ``write`` and ``grace``.
        """


class Steering(Liveness):
    """The server's side of a `flask_rawsocket.Connection`."""

    __slots__ = ()

    _keeper: Keeper

    def __init__(self, life: Life, keeper: Keeper) -> None:
        self._life = life
        self._keeper = keeper

    def set_deadlines(
        self, *, read: float | EllipsisType | None = ..., write: float | EllipsisType | None = ...
    ) -> None:
        """Let reading the request, or writing the response, go on for so long and no longer.

        Past its deadline a read raises ``TimeoutError`` in the view, which answers 408 where
        nothing catches it, and a write raises it in the server, which closes the connection. They
        are gone at the end of the request.

        Args:
            read: seconds from now; None lifts the deadline; left out, it stays.
            write: likewise.

        Raises:
            ValueError: that is not a number of seconds.
            ConnectionClosedError: it has been closed.
            InvalidStateError: no request is in hand, or the one that asks has ended.
            UnsupportedError: the server is not one of this package's, or the event loop has the
                connection; use ``asyncio.timeout`` there.
        """
        now = time.monotonic()
        asked = {"read": read, "write": write}
        self._keeper.set_deadlines(
            self,
            {
                kind: None if seconds is None else now + _seconds(seconds)
                for kind, seconds in asked.items()
                if not isinstance(seconds, EllipsisType)
            },
        )

    def set_min_rates(
        self,
        *,
        read: float | EllipsisType | None = ...,
        write: float | EllipsisType | None = ...,
        grace: float | EllipsisType = ...,
    ) -> None:
        """Change the minimum data rates of this request, or lift them; they end with it.

        They are averages since the request began, in which only the time counts that is spent
        waiting for the peer. A peer that is too slow ends as one past a deadline of
        `set_deadlines`; where both are set, whichever comes first holds.

        Args:
            read: the bytes a second at which the body must come; None or 0 for any speed; left
                out, it stays, at first as ``RAWSOCKET_MIN_BODY_RATE`` says.
            write: those at which the response must be read; ``RAWSOCKET_MIN_RESPONSE_RATE``.
            grace: the seconds of waiting before a rate is enforced; ``RAWSOCKET_RATE_GRACE``.

        Raises:
            ValueError: that is not a number of bytes, or of seconds.
            ConnectionClosedError: it has been closed.
            InvalidStateError: no request is in hand, the one that asks has ended, or it has been
                hijacked: its owner is bound by no rate.
            UnsupportedError: the server is not one of this package's; or a rate is set on HTTP/2,
                where there is none to begin with.
        """
        asked = {"read": read, "write": write, "grace": grace}
        rates = {k: v for k, v in asked.items() if not isinstance(v, EllipsisType)}
        for kind, value in rates.items():
            is_lifted = value is None and kind != "grace"
            if not is_lifted and (value is None or not 0 <= value < math.inf):
                what = "seconds" if kind == "grace" else "bytes a second"
                raise ValueError(f"{value!r} is not a number of {what}")
        self._keeper.set_min_rates(self, rates)

    def close_after_response(self) -> None:
        """Close the connection after this request's response instead of keeping it alive.

        The response says ``Connection: close`` (RFC 9112, section 9.6) if its head has not been
        sent yet; the connection is closed either way. Between requests it holds for the next one.
        On HTTP/2 the streams that have come are answered, and GOAWAY says so (RFC 9113, section
        6.8).

        Raises:
            ConnectionClosedError: it has been closed already.
            UnsupportedError: the server is not one of this package's.
        """
        if self._life.is_closed():
            raise self._closed_error()
        self._keeper.force_close(self)

    def abort(self) -> None:
        """Reset the connection: the peer gets an RST, whatever was to be sent is dropped.

        In a view it takes effect at once, and what the view returns is dropped too. Outside of the
        connection's request it takes effect when the server next touches it.

        On HTTP/2 (gunicorn 27 and newer) the thread that serves a stream resets that one only, by
        RST_STREAM; any other thread the connection, and with it all of its streams.

        Raises:
            ConnectionClosedError: it has been closed already.
            UnsupportedError: the server is not one of this package's.
        """
        if self._life.is_closed():
            raise self._closed_error()
        self._keeper.abort(self)

    def hijack(self) -> HijackedSocket:
        """Hijack the connection: from here on it is yours, and the server's no more.

        When this returns the server touches the socket no more: no status line, no chunk, no close,
        no poll. Nothing is lost: what it had read ahead comes out of the stream first. A pending
        ``Expect: 100-continue`` is not answered; deadlines are lifted; reading ``request.stream``
        raises. The view may serve the connection and return, or return and leave it to another
        thread; what it returns is dropped. The owner closes it; then it becomes CLOSED.

        Returns:
            The stream, to read, to write and to close.

        Raises:
            AlreadyHijackedError: it has been hijacked before.
            InvalidStateError: the response has begun, no request is in hand, or another thread is
                reading the request's body.
            ConnectionClosedError: it has been closed.
            UnsupportedError: the request came by HTTP/2, the server is not one of this package's,
                or a chunked body has been read in part.
        """
        return self._keeper.hijack(self)

    def upgrade(
        self, protocol: str, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    ) -> HijackedSocket:
        """Answer ``101 Switching Protocols`` and hijack the connection.

        Args:
            protocol: what the response's ``Upgrade`` says, such as ``websocket``.
            headers: more fields of the response, such as ``Sec-WebSocket-Accept``.

        Returns:
            The stream, as `hijack` does.

        Raises:
            ValueError: the protocol or a field is not one that HTTP allows, or not there.
            ConnectionBrokenError: the peer has left.
            UnsupportedError: the request is of HTTP/1.0, which has no 101.
            RawSocketError: what `hijack` raises.
        """
        head = switching_protocols(protocol, headers)
        exchange = self._life.exchange
        if exchange is not None and exchange.version() < "HTTP/1.1":
            raise UnsupportedError(f"{exchange.version()} has no 101 Switching Protocols")
        stream = self.hijack()
        try:
            stream.sendall(head)
        except BaseException:
            stream.close()
            raise
        return stream

    def hijack_async(
        self,
        handler: StreamHandler,
        *,
        protocol: str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> None:
        """Hijack the connection, and have `handler` serve it on an event loop.

        There is one loop in the process, in a thread of its own, so that a connection which is
        served here holds no thread. The view returns at once; what it returns is dropped.

        Args:
            handler: ``await handler(reader, writer)`` is called with asyncio streams, from which
                what the server had read ahead comes out first. When it returns the connection is
                closed; what it raises is logged. When the worker stops it is cancelled, after the
                grace period.
            protocol: answer ``101 Switching Protocols`` first, as `upgrade` does.
            headers: more fields of that response.

        Raises:
            TypeError: `handler` cannot be called. One that is not a coroutine function is logged.
            ValueError: as `upgrade` says; or there are fields, and no `protocol`.
            RawSocketError: what `hijack` raises.
        """
        if not callable(handler):
            raise TypeError(
                f"{handler!r} is not a handler: hijack_async takes a coroutine function"
            )
        if protocol is None and headers:
            raise ValueError("headers are those of a 101 response: say which protocol it is for")
        self._keeper.prepare_serving()  # whatever is missing shows before the hijack
        stream = self.hijack() if protocol is None else self.upgrade(protocol, headers)
        self._keeper.serve(self, stream, handler)


def _seconds(value: float) -> float:
    if not value > -math.inf:  # nor NaN
        raise ValueError(f"{value!r} is not a number of seconds")
    return value
