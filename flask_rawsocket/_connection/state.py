"""The states of a connection, the moves between them, and the reasons for its end.

Two rules: whatever decides which move is legal is in this file, as data; and this file knows no
socket, no thread and no server. Only `tracker.py` makes the moves.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import InvalidStateError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TRANSITIONS", "CloseReason", "ConnState", "illegal_transition"]


class ConnState(enum.Enum):
    """What a connection is doing; the names are those of Go's ``net/http.ConnState``."""

    NEW = "new"
    """Accepted; not one byte of a request has been read."""

    ACTIVE = "active"
    """At least one byte of a request has been read, and its response has not ended."""

    IDLE = "idle"
    """Kept alive between two requests."""

    HIJACKED = "hijacked"
    """Hijacked by the application; the server no longer touches it."""

    CLOSED = "closed"
    """Gone. No other state follows."""

    # A state is looked up twice in every request, and Enum's own hash is a slow Python function.
    __hash__ = object.__hash__


class CloseReason(enum.Enum):
    """Why a connection became `ConnState.CLOSED`."""

    CLIENT = "client"
    """The peer closed or reset it."""

    AFTER_RESPONSE = "after_response"
    """The response ended, and the connection was not to be kept alive."""

    KEEPALIVE_TIMEOUT = "keepalive_timeout"
    """No request came in time, neither a first one nor a next one."""

    ERROR = "error"
    """A request could not be parsed or came too slowly, its response was read too slowly, the TLS
    handshake failed, or a view failed in the middle of its response."""

    SHUTDOWN = "shutdown"
    """The server is stopping."""

    APP = "app"
    """The application ended it."""

    SLOW = "slow"
    """The client did not read what a stream had for it, and was dropped."""


TRANSITIONS: Mapping[ConnState | None, frozenset[ConnState]] = MappingProxyType(
    {
        None: frozenset({ConnState.NEW}),
        ConnState.NEW: frozenset({ConnState.ACTIVE, ConnState.CLOSED}),
        ConnState.ACTIVE: frozenset({ConnState.IDLE, ConnState.HIJACKED, ConnState.CLOSED}),
        ConnState.IDLE: frozenset({ConnState.ACTIVE, ConnState.CLOSED}),
        ConnState.HIJACKED: frozenset({ConnState.CLOSED}),
        ConnState.CLOSED: frozenset(),
    }
)
"""The states that may follow each state; None is before the first one."""


def illegal_transition(
    connection: object, old: ConnState | None, new: ConnState
) -> InvalidStateError:
    """Return the error for a move that is not in `TRANSITIONS`.

    Args:
        connection: the connection; only its ``repr`` is used.
        old: the state that it is in, None before the first one.
        new: the state that it was to enter.
    """
    before = old.name if old is not None else "nothing"
    return InvalidStateError(f"{connection!r} cannot go from {before} to {new.name}")
