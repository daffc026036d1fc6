"""`Duties`: what the socket that has a connection's descriptor owes to whom.

There is one for each connection. It moves with the descriptor from one socket object to the next;
a socket object without duties is an empty shell, or nobody's connection.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any, Final

from .._connection import ending, observing
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from ..errors import UnsupportedError
from .deadlines import HeaderTimeoutError, WriteDeadlineError
from .proxied import ProxiedDeadlines
from .rates import UNLIMITED, MinRates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._connection.connection import Connection
    from .._connection.life import Life
    from .._tracking.tracker import ConnectionTracker
    from .calls import CallsInProgress

__all__ = ["EMPTY_LINES", "Duties"]


EMPTY_LINES: Final = b"\r\n"
"""What empty lines consist of."""


class Duties(ProxiedDeadlines):
    """What is to be reported of a connection, and by when it must have read and written.

    Args:
        connection: whose descriptor the socket has.
        tracker: who is told.
    """

    __slots__ = (
        "calls",
        "closes_at_once",
        "connection",
        "ended",
        "goodbye_said",
        "ignored_thread",
        "life",
        "rates",
        "received",
        "reporting",
        "tracker",
    )

    connection: Connection | None
    """Whose descriptor it is; None once its end has been reported."""

    life: Life
    """Its record."""

    tracker: ConnectionTracker
    """Who is told of the first byte of a request, and of the end."""

    closes_at_once: bool
    """Whether a close waits for no peer: the connection was aborted, or said nothing."""

    reporting: bool
    """Whether a thread reports the end; it closes the descriptor when the hooks have run."""

    ended: bool
    """Whether our side has ended the connection, in some thread."""

    goodbye_said: bool
    """Whether the peer has been sent the end, so that it is not sent once more."""

    calls: CallsInProgress | None
    """The reads and writes in progress, once the connection has been hijacked."""

    rates: MinRates | None
    """The minimum data rates of the request in hand; None until a view or a wait needs them."""

    received: int
    """The bytes that have been read of the request's body, but for those read with its head."""

    ignored_thread: int | None
    """Under TLS, the thread whose calls do nothing: a server's, which has let go of the socket."""

    def __init__(self, connection: Connection, tracker: ConnectionTracker) -> None:
        # Not by super(): one is made for each connection that is accepted.
        self.read = None
        self.write = None
        self.in_head = False
        self.connection = connection
        self.life = life_of(connection)
        self.tracker = tracker
        self.head_due = True
        self.proxy_parser = None
        self.closes_at_once = False
        self.reporting = False
        self.ended = False
        self.goodbye_said = False
        self.calls = None
        self.ignored_thread = None
        self.rates = None
        self.received = 0

    def start_clock(self) -> None:
        """A head is due within the time that the application allows."""
        timeout = self.tracker.settings.header_timeout
        if timeout is not None:
            self.in_head = True
            self.read = time.monotonic() + timeout

    def first_bytes(self, data: bytes) -> bytes:
        """A request is due and `data` is there: return what is of a request, which begins then.

        Empty lines before it are not (RFC 9112, section 2.2): some clients send one behind a body.

        Raises:
            ConnectionResetError: the application has aborted the connection, and wants none.
        """
        if self.proxy_parser is not None:
            return self.first_behind_header(self.proxy_parser, data)
        if data[0] in EMPTY_LINES:
            data = data.lstrip(EMPTY_LINES)
        if data:
            self.request_begun()
        return data

    def request_begun(self) -> None:
        """A byte of a request is there: the connection is ACTIVE, and its head is due in time.

        Raises:
            ConnectionResetError: the application has aborted the connection, and wants none.
        """
        self.head_due = False
        connection = self.connection
        if connection is None:
            return
        if self.closes_at_once:
            raise ConnectionResetError(errno.ECONNRESET, "the connection has been aborted")
        before = time.monotonic() if self.read is not None else None
        self.tracker.received(connection)
        if before is None or self.read is None:
            self.start_clock()
        elif self.life.due_hooks is not None:
            # What a hook takes is not the client's doing.
            self.read += time.monotonic() - before

    def head_complete(self) -> None:
        """The head has been read: lift its deadline. From here on the minimum data rates count."""
        self.in_head = False
        self.read = None
        self.rates = None
        self.received = 0
        if observing.current is not None and self.connection is not None:
            observing.current.head_complete(self.connection)

    def head_given_up(self) -> None:
        """No head is awaited any more: lift its deadline."""
        self.in_head = False
        self.read = None

    def min_rates(self) -> MinRates:
        """Return the rates of the request in hand: the application's, unless a view has set any."""
        if self.rates is None:
            its = self.tracker.settings
            self.rates = MinRates(its.min_body_rate, its.min_response_rate, its.rate_grace)
        return self.rates

    def body_rates(self) -> MinRates | None:
        """Return the rates for what is read now, if it is a request's body; else None.

        A view that reads from the socket itself, as one with a WebSocket does, has none.
        """
        if self.calls is not None or self.in_head or self.head_due:
            return None
        exchange = self.life.exchange
        # Without one it is the server that reads the rest of a body that its view has not read.
        if not (exchange is None or exchange.reads_body):
            return None
        rates = self.min_rates()
        return rates if rates.read else None

    def response_rates(self) -> MinRates | None:
        """Return the rates for what is written now, unless the view writes it by itself."""
        if self.calls is not None:
            return None
        exchange = self.life.exchange
        if not (exchange is None or exchange.reads_body or exchange.has_begun()):
            return None
        rates = self.min_rates()
        return rates if rates.write else None

    def set_min_rates(self, rates: Mapping[str, float | None]) -> None:
        """Change the rates of the request in hand: ``read``, ``write`` and ``grace``.

        Raises:
            UnsupportedError: one is set on HTTP/2, or on waitress.
        """
        own = self.min_rates()
        if own is not UNLIMITED:
            for kind, value in rates.items():
                setattr(own, kind, value)
        elif rates.get("read") or rates.get("write"):
            raise UnsupportedError(
                "no minimum data rates are kept on HTTP/2, nor on waitress: they can only be lifted"
            )

    def lift_rates(self) -> None:
        """Keep no minimum data rates on this connection, until the next head is complete."""
        self.rates = UNLIMITED

    def _shakes_hands(self) -> bool:
        """Tell whether a TLS handshake is not done yet."""
        sock: Any = self.life.sock
        return self.life.is_tls and sock is not None and sock.version() is None

    def _note_in_request(self, why: CloseReason) -> None:
        """Note `why`, unless the socket is its owner's, who may go on all the same."""
        if self.calls is None:
            ending.note(self.life, why)

    def write_left(self) -> float:
        """Return the seconds until the next write is too late; note it, if it is so already.

        Raises:
            OSError: as `Deadlines.write_left` says.
        """
        try:
            return super().write_left()
        except WriteDeadlineError:
            self._note_in_request(CloseReason.WRITE_DEADLINE)
            raise

    def read_too_slowly(self) -> WriteDeadlineError:
        """Return the error for a response that is read too slowly."""
        self._note_in_request(CloseReason.SLOW_READER)
        return WriteDeadlineError("the response was read too slowly")

    def too_slow(self) -> Exception:
        """Return the error for a body that comes too slowly."""
        self._note_in_request(CloseReason.BODY_TOO_SLOW)
        if self.life.exchange is None:  # the view has ended, and to servers this is no failure
            return ConnectionResetError(errno.ECONNRESET, "the rest of the body came too slowly")
        return TimeoutError("the body came too slowly")

    def too_late(self) -> Exception:
        """Return the error for a read past its deadline, the head's or the view's."""
        if not self.in_head:
            self._note_in_request(CloseReason.READ_DEADLINE)
            return super().too_late()
        silent = self.life.state is not ConnState.ACTIVE
        late = CloseReason.HEAD_TOO_SLOW
        if silent and not self.in_proxy_header:
            if not self._shakes_hands():
                ending.none_came(self.life)
            late = CloseReason.HANDSHAKE_TOO_SLOW
        ending.note(self.life, late)
        # A silent client was sent nothing, so there is nothing to linger for.
        self.closes_at_once = silent
        self.head_given_up()
        return HeaderTimeoutError("no request came" if silent else "the head came too slowly")

    def report_end(self, reason: CloseReason | None = None) -> None:
        """The descriptor is about to be closed; return when the hooks have seen it open."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        is_slow = self.life.ending is CloseReason.SLOW_READER  # why a stream aborts
        if self.is_aborted and not is_slow:
            reason = CloseReason.APP_ABORTED
        try:
            self.tracker.closed(connection, reason)
        finally:
            self.life.sock = None
