"""The development server: the names of ``werkzeug.serving``, with tracked connections."""

from __future__ import annotations

from werkzeug.serving import is_running_from_reloader

from ._handler import WSGIRequestHandler
from ._server import (
    BaseWSGIServer,
    ForkingWSGIServer,
    ThreadedWSGIServer,
    make_server,
    replacing_werkzeug,
    run_simple,
)

__all__ = [
    "BaseWSGIServer",
    "ForkingWSGIServer",
    "ThreadedWSGIServer",
    "WSGIRequestHandler",
    "is_running_from_reloader",
    "make_server",
    "replacing_werkzeug",
    "run_simple",
]
