"""gunicorn workers that keep track of their connections; the names are gunicorn's.

``gunicorn -k flask_rawsocket.workers.ThreadWorker`` (the same as ``flask_rawsocket.Worker``) is
gunicorn's ``gthread``, ``SyncWorker`` its ``sync``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from .. import _names

# gunicorn itself can be installed there, and says no more than that there is no `fcntl`.
if importlib.util.find_spec("fcntl") is None:
    raise RuntimeError(
        "flask_rawsocket.workers needs gunicorn, which does not run on this system "
        f"({sys.platform}, where Python has no fcntl); `flask rawsocket run` does"
    )

try:
    import gunicorn as _gunicorn  # asked for here, so that its absence has one sentence
except ImportError as exc:
    raise ImportError(
        "flask_rawsocket.workers needs gunicorn: pip install 'Flask-RawSocket[gunicorn]'"
    ) from exc

# Neither an AttributeError nor an ImportError: gunicorn takes those for something else.
if _gunicorn.version_info < (25, 3):
    raise RuntimeError(
        "flask_rawsocket.workers needs gunicorn 25.3 or newer, "
        f"and this is {_gunicorn.__version__}: pip install 'Flask-RawSocket[gunicorn]'"
    )
try:
    from .gthread import ThreadWorker
    from .sync import SyncWorker
except (AttributeError, ImportError, TypeError) as exc:
    raise RuntimeError(
        f"flask_rawsocket.workers does not know gunicorn {_gunicorn.__version__}, "
        f"which is not built as 25.3 to 27.0 are: {exc}"
    ) from exc

if TYPE_CHECKING:
    from .gevent import GeventWorker as GeventWorker
    from .gevent_pywsgi import GeventPyWSGIWorker as GeventPyWSGIWorker

__all__ = ["SyncWorker", "ThreadWorker"]


def __getattr__(name: str) -> Any:
    if name not in _names.GEVENT_WORKERS:
        raise _names.no_such_name(__name__, name)
    try:
        module = importlib.import_module(_names.GEVENT_WORKERS[name])
    except ImportError as exc:
        # Not an ImportError: gunicorn takes that for something else.
        raise RuntimeError(
            f"flask_rawsocket.{name} needs gevent: pip install 'Flask-RawSocket[gevent]'"
        ) from exc
    return getattr(module, name)
