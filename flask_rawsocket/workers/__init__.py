"""gunicorn workers that keep track of their connections; the names are gunicorn's.

``gunicorn -k flask_rawsocket.workers.ThreadWorker`` (the same as ``flask_rawsocket.Worker``) is
gunicorn's ``gthread``, ``SyncWorker`` its ``sync``.
"""

from __future__ import annotations

try:
    import gunicorn as _gunicorn  # noqa: F401  asked for here, so that its absence has one sentence
except ImportError as exc:
    raise ImportError(
        "flask_rawsocket.workers needs gunicorn: pip install 'Flask-RawSocket[gunicorn]'"
    ) from exc

from .gthread import ThreadWorker
from .sync import SyncWorker

__all__ = ["SyncWorker", "ThreadWorker"]
