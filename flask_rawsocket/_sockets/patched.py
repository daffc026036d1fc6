"""`check_unpatched`: whether a library has put its own sockets in the place of Python's.

gevent's `monkey.patch_all()` is the usual one. What we derive from ``socket.socket`` and
``ssl.SSLSocket`` is then made of another class than what the process uses, and what is meant to be
a thread is none: a server of ours would hang, or crash.
"""

from __future__ import annotations

import socket
import ssl
import sys
from typing import Final

from .plain import TrackedSocket
from .ticking import TickingSSLSocket

__all__ = ["PatchedError", "check_unpatched"]

_MODULES: Final = ("socket", "ssl", "select", "selectors", "threading")

_BASES: Final = (
    ("socket.socket", socket, TrackedSocket),
    ("ssl.SSLSocket", ssl, TickingSSLSocket),
)


class PatchedError(RuntimeError):
    """A server of ours does not work in this process; the text says why, and what would."""


def check_unpatched(server: str) -> None:
    """Check that the process has Python's own sockets and threads.

    Args:
        server: the name of the server's class.

    Raises:
        PatchedError: it has not.
    """
    found = _patched_by_gevent() or _replaced()
    if found:
        raise PatchedError(
            f"{server} needs Python's own sockets and threads, but {found}: "
            "leave out what does that, such as monkey.patch_all(), or serve with greenlets: "
            "gunicorn -k flask_rawsocket.GeventWorker"
        )


def _patched_by_gevent() -> str:
    """Return what gevent has patched, in words; it is not imported for that."""
    is_patched = getattr(sys.modules.get("gevent.monkey"), "is_module_patched", None)
    patched = [each for each in _MODULES if is_patched is not None and is_patched(each)]
    return f"gevent has patched {', '.join(patched)}" if patched else ""


def _replaced() -> str:
    """Return which class is not the one that ours derive from, in words."""
    for name, module, ours in _BASES:
        now = getattr(module, name.rpartition(".")[2])
        if now not in ours.__bases__:
            return f"{name} has been replaced by {now.__module__}.{now.__qualname__}"
    return ""
