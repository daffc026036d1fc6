"""gevent's own WSGI server, tracked: the names of ``gevent.pywsgi``."""

from __future__ import annotations

try:
    import gevent as _gevent  # noqa: F401  asked for here, so that its absence has one sentence
except ImportError as exc:
    raise ImportError(
        "flask_rawsocket.pywsgi needs gevent: pip install 'Flask-RawSocket[gevent]'"
    ) from exc

from ._handler import WSGIHandler
from ._server import WSGIServer

__all__ = ["WSGIHandler", "WSGIServer"]
