"""`Receiving`: what the streams of an HTTP/2 connection say of its state, on every worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gunicorn.http2.errors import HTTP2ProtocolError

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason

if TYPE_CHECKING:
    from .._connection.life import Life
    from .._tracking.tracker import ConnectionTracker

__all__ = ["Receiving"]


class Receiving:
    """Stands where a connection of gunicorn's receives, and sees what that says of its state.

    Args:
        tracker: who is told.
        connection: ours.
        h2: gunicorn's.
    """

    def __init__(self, tracker: ConnectionTracker, connection: Any, h2: Any) -> None:
        self._tracker = tracker
        self._connection = connection
        self._life: Life = life_of(connection)
        self._h2 = h2
        self._receive = h2.receive_data
        self._last = 0
        """The number of the last stream that is served, or will be."""

    def __call__(self, *args: Any) -> Any:
        h2 = self._h2
        if self._is_over() and not args:
            h2.close(last_stream_id=self._last)
            ending.answered(self._life)
            return []
        if not h2.streams:
            self._tracker.responded(self._connection)
        try:
            requests = self._receive(*args)
        except HTTP2ProtocolError:
            ending.note(self._life, CloseReason.HTTP2_ERROR)
            raise
        if requests or h2.streams:
            self._tracker.received(self._connection)
        self._last = max([self._last, *(each.stream.stream_id for each in requests)])
        return requests

    def _is_over(self) -> bool:
        """Tell whether the application wants the connection closed, and all streams are served."""
        is_wanted = self._life.force_close and self._last
        return bool(is_wanted and not getattr(self._h2, "pending_requests", ()))
