"""The lingering close (RFC 9112, section 9.6): what a peer still sends after the response is read.

A socket that is closed with unread bytes sends a reset, and the response may be lost with it. A
proxy that has not yet sent the whole body makes a 502 of that. gunicorn reads 64 KiB; here only
time is limited, since every body of a proxy's may be longer.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Final

from .._sockets.deadlines import READ, ready
from .._sockets.plain import DONT_WAIT

__all__ = ["LINGER_TIMEOUT", "drained", "linger"]

LINGER_TIMEOUT: Final = 2.0
"""How long a closed connection may still send, in seconds; as gunicorn's ``close_graceful``."""

_TURN: Final = 65536
"""How many bytes are read of one connection before others get their turn."""


def drained(sock: socket.socket) -> bool:
    """Throw away what the peer has sent since we closed; tell whether nothing more will come."""
    total = 0
    while total < _TURN:
        try:
            # Asked first: a recv() waits, whatever its flags say, where somebody has set a timeout.
            if not ready(sock, READ, 0):
                return False
            # The base class's: under TLS these are no records any more, and no request either way.
            data = socket.socket.recv(sock, 8192, DONT_WAIT)
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True
        if not data:
            return True
        total += len(data)
    return False


def linger(sock: socket.socket) -> None:
    """Say FIN, and throw away what still comes, in this thread; for `LINGER_TIMEOUT` at most.

    A peer that has had its time is not waited for again: reading finds the end from here on.
    """
    deadline = time.monotonic() + LINGER_TIMEOUT
    with contextlib.suppress(OSError, ValueError):
        sock.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            if ready(sock, READ, left) and drained(sock):
                return
        sock.shutdown(socket.SHUT_RD)
