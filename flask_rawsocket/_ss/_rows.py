"""A connection as a row, ready for JSON; the application's end of ``flask rawsocket ss``."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from .._connection.address import RemoteAddr
from ..errors import RawSocketError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.connection import Connection
    from .._tracking.map import ConnectionMap

    _T = TypeVar("_T")

__all__ = ["describe", "snapshot"]

_TCP_FIELDS = (
    "state",
    "rtt",
    "rttvar",
    "min_rtt",
    "snd_cwnd",
    "snd_mss",
    "unacked",
    "lost",
    "total_retrans",
    "bytes_received",
    "bytes_acked",
    "delivery_rate",
)
"""The fields of `TCPInfo` that tell a healthy connection from one in trouble."""


def snapshot(connections: ConnectionMap) -> dict[str, Any]:
    """Return the answer to ``flask rawsocket ss``, ready for JSON.

    Args:
        connections: the live connections of this process.

    Returns:
        ``pid``, the id of this process, and ``connections``, a row for each.
    """
    return {"pid": os.getpid(), "connections": [describe(each) for each in connections.values()]}


def describe(connection: Connection) -> dict[str, Any]:
    """Return the row of a connection; see `RawSocket.describe`."""
    reason = connection.close_reason
    return {
        "id": connection.id,
        "key": connection.key,
        "state": connection.state.name,
        "close_reason": reason and reason.name,
        "family": connection.family.name,
        "local_address": RemoteAddr.of_peer(connection.local_address),
        "is_unix": connection.is_unix,
        "is_tls": connection.is_tls,
        "managed": connection.managed,
        "requests": connection.requests,
        "opened_at": connection.opened_at.isoformat(timespec="milliseconds"),
        "age": round(connection.age, 3),
        "queues": _unless_unknown(lambda: asdict(connection.queues())),
        "tcp": _unless_unknown(lambda: _tcp_fields(connection)),
    }


def _tcp_fields(connection: Connection) -> dict[str, Any]:
    info = connection.tcp_info()
    return {name: getattr(info, name) for name in _TCP_FIELDS}


def _unless_unknown(ask: Callable[[], _T]) -> _T | None:
    """Return what `ask` returns; None if the kernel does not know, or the connection is gone."""
    try:
        return ask()
    except (RawSocketError, OSError):
        return None
