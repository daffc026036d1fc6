"""The names of the worker classes, and what is said of one that is not there.

gunicorn takes an AttributeError for something else: a misspelt class ends in "'str' object is not
callable". A RuntimeError it prints, and ends.
"""

from __future__ import annotations

import difflib
from typing import Final

__all__ = ["GEVENT_WORKERS", "WORKERS", "no_such_name"]

WORKERS: Final = {
    "Worker": "ThreadWorker",
    "GeventPyWSGIWorker": "GeventPyWSGIWorker",
    "GeventWorker": "GeventWorker",
    "SyncWorker": "SyncWorker",
    "ThreadWorker": "ThreadWorker",
}
"""The worker classes' names at the top level, and those in ``flask_rawsocket.workers``."""

GEVENT_WORKERS: Final = {
    "GeventPyWSGIWorker": "flask_rawsocket.workers.gevent_pywsgi",
    "GeventWorker": "flask_rawsocket.workers.gevent",
}
"""Those that need gevent, and the modules that they are in."""


def no_such_name(module: str, name: str) -> Exception:
    """Return the error for a name that `module` does not have.

    Args:
        module: the module's name.
        name: what was asked of it.

    Returns:
        A ``RuntimeError`` where a worker class seems to be meant, else an ``AttributeError``.
    """
    meant = difflib.get_close_matches(name, WORKERS, n=1, cutoff=0.75)
    if name != "workers" and (meant or name.endswith("Worker")):
        hint = f"did you mean {meant[0]}?" if meant else f"it has {', '.join(WORKERS)}."
        return RuntimeError(f"{module} has no worker class {name}: {hint}")
    return AttributeError(f"module {module!r} has no attribute {name!r}")
