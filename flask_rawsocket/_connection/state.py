"""The states of a connection, the moves between them, and why one ended.

Two rules: everything that decides which move is legal stands in this file, as data; and this file
knows no socket, no thread and no server. Who makes the moves is `tracker.py`, and only it.
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
    """At least one byte of a request was read, and its response has not ended."""

    IDLE = "idle"
    """Kept alive between two requests."""

    HIJACKED = "hijacked"
    """Taken over by the application; the server no longer touches it."""

    CLOSED = "closed"
    """Gone. No move leads out of here."""

    # A state is looked up twice in every request; Enum's own hash is a Python function.
    __hash__ = object.__hash__


class CloseReason(enum.Enum):
    """Why a connection became `ConnState.CLOSED`."""

    CLIENT = "client"
    """The peer closed or reset it."""

    AFTER_RESPONSE = "after_response"
    """The response ended and the connection was not to be kept alive."""

    KEEPALIVE_TIMEOUT = "keepalive_timeout"
    """No request came in time, be it the first one or the next one."""

    ERROR = "error"
    """A request that could not be parsed or came too slowly, a failed TLS handshake, or a view
    that failed amid its response."""

    SHUTDOWN = "shutdown"
    """The server is stopping."""

    APP = "app"
    """The application ended it."""


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
"""From each state (None before the first) the states that may follow it."""


def illegal_transition(
    connection: object, old: ConnState | None, new: ConnState
) -> InvalidStateError:
    """Give the error for a move that is not in `TRANSITIONS`.

    Args:
        connection: whose move it is; only its ``repr`` is used.
        old: the state it is in, None before the first.
        new: the state it was to be in.
    """
    before = old.name if old is not None else "nothing"
    return InvalidStateError(f"{connection!r} cannot go from {before} to {new.name}")
