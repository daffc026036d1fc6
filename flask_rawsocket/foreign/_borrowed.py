"""`BorrowedSocket`: stands for a descriptor that a server not written in Python will close itself.

It is never duplicated: a duplicate would hold the connection open past the server's own close.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

__all__ = ["BorrowedSocket", "borrow", "lends"]

_os: Any = os
"""Untyped: Windows, which has no such server, lacks what is called here."""


class BorrowedSocket(socket.socket):
    """A socket object that closes nothing.

    Args:
        descriptor: open, and another's.
    """

    def __init__(self, descriptor: int) -> None:
        blocks = _os.get_blocking(descriptor)
        super().__init__(fileno=descriptor)
        if socket.getdefaulttimeout() is not None:  # meant for sockets of the application's own
            _os.set_blocking(descriptor, blocks)

    def _real_close(self, *_args: Any) -> None:
        # Where the standard library would close the descriptor (Lib/socket.py).
        self.detach()

    def __del__(self) -> None:
        self.detach()


def lends(environ: dict[str, Any]) -> bool:
    """Tell whether the server of a request has a descriptor to lend: uWSGI does."""
    return "uwsgi.version" in environ and hasattr(sys.modules.get("uwsgi"), "connection_fd")


def borrow(environ: dict[str, Any]) -> BorrowedSocket | None:
    """Return the socket of the request in hand, to be given back at its end; None if there is none.

    Args:
        environ: the request's WSGI environ.
    """
    if not lends(environ):
        return None
    uwsgi: Any = sys.modules["uwsgi"]
    try:
        return BorrowedSocket(uwsgi.connection_fd())
    except (OSError, ValueError):  # a request that came from a file, or a pipe
        return None
