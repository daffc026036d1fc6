"""Where the Connection stands in a WSGI environ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["KEY", "get", "put"]

KEY: Final = "rawsocket.connection"


def put(environ: dict[str, Any], connection: Connection) -> None:
    """Enter the connection that the request of `environ` came in on, and count the request."""
    connection.requests += 1
    environ[KEY] = connection


def get(environ: dict[str, Any]) -> Connection | None:
    """Give the connection that a server of ours put into `environ`; None on any other server."""
    return environ.get(KEY)
