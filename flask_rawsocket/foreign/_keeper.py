"""`ForeignKeeper`: what the Connection of a server that is not ours can have done: be watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from .._tracking.tracker import process_tracker
from ..errors import ConnectionClosedError, InvalidStateError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ForeignKeeper"]


class ForeignKeeper:
    """Keeps the connections of servers that are not ours: it can have their peers watched."""

    def _refuse(self, connection: Any, *_: object, **__: object) -> NoReturn:
        raise UnsupportedError(
            f"{connection!r} is kept by a server that is not ours; "
            "use flask_rawsocket.Worker or `flask rawsocket run`"
        )

    force_close = hijack = serve = abort = set_deadlines = set_min_rates = _refuse

    def prepare_serving(self) -> None:
        """Do nothing: `hijack` refuses next."""

    def watch(
        self, connection: Any, callback: Callable[[], object], *, at_end_too: bool = False
    ) -> Callable[[], None]:
        """Call `callback` once the peer is gone; return what takes that back.

        Args:
            connection: whose peer; a request of it is in hand.
            callback: called from a thread of its own.
            at_end_too: call it also when the watch ends, without a thread of its own.

        Raises:
            InvalidStateError: no request is in hand. Nobody tells what becomes of the connection
                then: its descriptor may soon be another's.
            RawSocketError: as `Watcher.watch` says.
        """
        if not connection.requests_in_hand:
            raise InvalidStateError(
                f"{connection!r} has no request in hand whose end is seen: on a server that is not "
                "ours, watch in a request of an application that RawSocket is set up on"
            )
        try:
            cancel = process_tracker.watch(connection, callback, at_end_too=at_end_too)
        except ConnectionClosedError:  # the server has read that the peer left
            if at_end_too:
                callback()
            else:
                process_tracker.hook_runner.submit(callback)
            connection.check_open()  # others may watch it, who have not been told yet
            return _nothing
        connection.hear_of_close()
        connection.check_open()  # it may have been closed meanwhile
        return cancel

    def peer_was_seen_gone(self, connection: Any) -> None:
        """The application has been told that the peer of `connection` is gone."""
        process_tracker.peer_was_seen_gone(connection)


def _nothing() -> None:
    """Stand for taking back what has been called."""
