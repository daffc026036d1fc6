"""Flask-RawSocket: the connection under a Flask view.

Names only. ``Worker``, ``ThreadWorker`` (the same), ``SyncWorker``, ``GeventWorker`` and
``GeventPyWSGIWorker`` are resolved when they are asked for, and stay out of ``__all__``: gunicorn
and gevent are optional. So is ``__version__``, the installed distribution's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _names, sockinfo
from ._connection.address import RemoteAddr
from ._connection.connection import Connection
from ._connection.hijacked import HijackedSocket
from ._connection.proxy_header import ProxyHeader, ProxyTLS
from ._connection.state import TRANSITIONS, CloseReason, ConnState
from ._tracking.map import ConnectionMap
from .errors import (
    AlreadyHijackedError,
    ConnectionBrokenError,
    ConnectionClosedError,
    InvalidStateError,
    NoConnectionError,
    RawSocketError,
    UnsupportedError,
)
from .extension import RawSocket
from .globals import current_conn

if TYPE_CHECKING:
    from .workers import GeventPyWSGIWorker, GeventWorker, SyncWorker, ThreadWorker
    from .workers import ThreadWorker as Worker

__all__ = [
    "TRANSITIONS",
    "AlreadyHijackedError",
    "CloseReason",
    "ConnState",
    "Connection",
    "ConnectionBrokenError",
    "ConnectionClosedError",
    "ConnectionMap",
    "HijackedSocket",
    "InvalidStateError",
    "NoConnectionError",
    "ProxyHeader",
    "ProxyTLS",
    "RawSocket",
    "RawSocketError",
    "RemoteAddr",
    "UnsupportedError",
    "current_conn",
    "sockinfo",
]
if TYPE_CHECKING:
    __version__: str
    __all__ += ["GeventPyWSGIWorker", "GeventWorker", "SyncWorker", "ThreadWorker", "Worker"]


def __getattr__(name: str) -> Any:
    if name in _names.WORKERS:
        from . import workers  # noqa: PLC0415  gunicorn is optional

        return getattr(workers, _names.WORKERS[name])
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  it reads files

        return version("Flask-RawSocket")
    raise _names.no_such_name(__name__, name)
