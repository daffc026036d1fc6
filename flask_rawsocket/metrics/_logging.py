"""`ConnectionFilter`: the connection in log lines, gunicorn's access log included."""

from __future__ import annotations

import logging
from typing import Any, Final

from .._connection.connection import Connection
from .._wsgi import KEY
from ..errors import RawSocketError
from ..globals import get_current_conn

__all__ = ["ConnectionFilter"]

_ATOM: Final = f"{{{KEY}}}e"
"""How gunicorn's access log calls it: each entry of the environ is one of its fields."""

_NOTHING: Final = "-"


class ConnectionFilter(logging.Filter):
    """A logging filter that lets every line pass, and adds fields about the connection to it.

    ``conn_id`` and ``conn_key`` are `Connection.id` and `Connection.key` of the current request's
    connection. ``peer_user``, ``peer_uid`` and ``peer_pid`` are the process that has connected to a
    UNIX socket: the name of its user, or the number where there is none, its user's id, and its own
    id at that time, which may be another process's by now. Each is ``-`` where there is none.

    On the logger ``gunicorn.access`` they are fields of ``access_log_format``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields to `record`; return True."""
        atoms = record.args
        if isinstance(atoms, dict) and "conn_id" not in atoms:
            found = atoms.get(_ATOM)
            if isinstance(found, Connection):
                fields = _fields(found)
                atoms.update(fields)
                record.__dict__.update(fields)
                return True
        record.__dict__.update(_fields(_current()))
        return True


def _current() -> Connection | None:
    try:
        return get_current_conn()
    except (RawSocketError, RuntimeError):
        return None


def _fields(connection: Connection | None) -> dict[str, Any]:
    fields = dict.fromkeys(("conn_id", "conn_key", "peer_user", "peer_uid", "peer_pid"), _NOTHING)
    if connection is None:
        return fields
    found: dict[str, Any] = {"conn_id": connection.id, "conn_key": str(connection.key)}
    if connection.is_unix:
        try:
            peer = connection.peer_credentials()
        except (RawSocketError, OSError):
            pass  # it has been closed, or the system does not tell
        else:
            known = {"peer_user": peer.user or peer.uid, "peer_uid": peer.uid, "peer_pid": peer.pid}
            found |= {name: value for name, value in known.items() if value is not None}
    return fields | found
