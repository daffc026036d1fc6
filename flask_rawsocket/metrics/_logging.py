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


class ConnectionFilter(logging.Filter):
    """A logging filter that lets every line pass, and adds ``conn_id`` and ``conn_key`` to it.

    They are `Connection.id` and `Connection.key` of the current request's connection; ``-`` where
    there is none. On the logger ``gunicorn.access`` they are fields of ``access_log_format``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields to `record`; return True."""
        atoms = record.args
        if isinstance(atoms, dict) and "conn_id" not in atoms:
            found = atoms.get(_ATOM)
            if isinstance(found, Connection):
                record.conn_id, record.conn_key = fields = found.id, str(found.key)
                atoms["conn_id"], atoms["conn_key"] = fields
                return True
        record.conn_id, record.conn_key = _current()
        return True


def _current() -> tuple[Any, str]:
    try:
        connection = get_current_conn()
    except (RawSocketError, RuntimeError):
        return "-", "-"
    return connection.id, str(connection.key)
