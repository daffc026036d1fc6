"""`Recorder`: makes measurements of what an observer is told.

Whatever fails here is logged and fails nobody else.
"""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from .._connection.state import ConnState
from ..errors import RawSocketError
from ._table import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.connection import Connection
    from ._table import Instrument

__all__ = ["Recorder", "Sink"]

log = logging.getLogger("flask_rawsocket")

_CONNECTIONS: Final = named("connections")
_OPENED: Final = named("connections.opened")
_CLOSED: Final = named("connections.closed")
_HIJACKED: Final = named("connections.hijacked")
_DURATION: Final = named("connection.duration")
_REQUESTS_EACH: Final = named("connection.requests")
_RTT: Final = named("connection.rtt")
_RETRANSMITS: Final = named("connection.retransmits")
_HANDSHAKE: Final = named("tls_handshake.duration")
_REQUESTS: Final = named("requests")
_HEAD: Final = named("request.head")
_QUEUE: Final = named("request.queue")
_WAITING: Final = named("requests.waiting")
_THREADS: Final = named("threads")
_BUSY: Final = named("threads.busy")


class Sink(Protocol):
    """Where measurements go."""

    def add(self, instrument: Instrument, amount: float, value: str = "") -> None:
        """Add `amount` to a counter or a gauge, for `value` of its label."""

    def record(self, instrument: Instrument, amount: float) -> None:
        """Record `amount` in a histogram."""


def _logging(method: Callable[..., None]) -> Callable[..., None]:
    """Return `method` such that what it raises is logged."""

    @functools.wraps(method)
    def call(*args: Any) -> None:
        try:
            method(*args)
        except Exception:
            log.exception("A connection could not be counted")

    return call


class Recorder:
    """An observer that makes measurements.

    Args:
        sink: where they go.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._heads: dict[int, float] = {}
        """When the head of a request began, by the connection's id."""
        self._handshakes: dict[int, float] = {}
        """Likewise a handshake."""
        self._most = 0
        self._waiting = 0

    @_logging
    def changed(self, connection: Connection, old: ConnState | None, new: ConnState) -> None:
        """Count a connection in its new state."""
        add = self._sink.add
        if old is not None:
            add(_CONNECTIONS, -1, old.value)
        if new is ConnState.CLOSED:
            self._closed(connection)
            return
        add(_CONNECTIONS, 1, new.value)
        if new is ConnState.ACTIVE:
            self._heads[connection.id] = time.monotonic()
            self.handshake_done(connection)
        elif new is ConnState.NEW:
            add(_OPENED, 1, "unix" if connection.is_unix else "tcp")
        elif new is ConnState.HIJACKED:
            add(_HIJACKED, 1)

    def _closed(self, connection: Connection) -> None:
        self._heads.pop(connection.id, None)
        self._handshakes.pop(connection.id, None)
        reason = connection.close_reason
        add, record = self._sink.add, self._sink.record
        if reason is not None:
            add(_CLOSED, 1, reason.value)
        record(_DURATION, connection.age)
        record(_REQUESTS_EACH, connection.requests)
        if connection.is_unix:
            return
        try:
            info = connection.tcp_info()
        except (RawSocketError, OSError):
            return  # the system has no such thing, or the descriptor is gone
        if info.rtt is not None:
            record(_RTT, info.rtt)
        if info.total_retrans:
            add(_RETRANSMITS, info.total_retrans)

    @_logging
    def head_complete(self, connection: Connection) -> None:
        """Record how long the head took."""
        began = self._heads.pop(connection.id, None)
        if began is not None:
            self._sink.record(_HEAD, time.monotonic() - began)

    @_logging
    def request_begun(self, connection: Connection) -> None:
        """Count a request, and record how long it waited for a thread."""
        self._sink.add(_REQUESTS, 1)
        if connection.is_unix:
            return
        try:
            waited = connection.tcp_info().last_data_recv
        except (RawSocketError, OSError):
            return
        if waited is not None:
            self._sink.record(_QUEUE, waited)

    @_logging
    def handshake_begun(self, connection: Connection) -> None:
        """Remember when a handshake began."""
        self._handshakes[connection.id] = time.monotonic()

    @_logging
    def handshake_done(self, connection: Connection) -> None:
        """Record how long it took."""
        began = self._handshakes.pop(connection.id, None)
        if began is not None:
            self._sink.record(_HANDSHAKE, time.monotonic() - began)

    @_logging
    def thread_begun(self) -> None:
        """Count a busy thread."""
        self._sink.add(_BUSY, 1)

    @_logging
    def thread_done(self) -> None:
        """Count it no more."""
        self._sink.add(_BUSY, -1)

    @_logging
    def requests_waiting(self, count: int) -> None:
        """Tell how many requests wait for a thread."""
        if count != self._waiting:
            self._sink.add(_WAITING, count - self._waiting)
            self._waiting = count

    @_logging
    def threads(self, most: int) -> None:
        """Tell how many threads there are."""
        self._sink.add(_THREADS, most - self._most)
        self._most = most
