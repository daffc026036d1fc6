"""How a connection is reset, on Linux."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from struct import Struct
from typing import TYPE_CHECKING

from .._errno import fail

assert not TYPE_CHECKING or sys.platform == "linux"  # noqa: S101  for mypy

__all__ = ["abort", "reset"]

_SOL = socket.SOL_SOCKET
_LINGER = Struct("@ii")
_NO_ADDRESS = Struct("=H14x").pack(socket.AF_UNSPEC)
"""A sockaddr without an address (sys/socket.h)."""


def abort(sock: socket.socket) -> None:
    """Make the coming close an abort: a TCP connection sends RST and drops queued data.

    Closing is up to the caller. The kernel aborts at the last close only: no RST is sent while a
    duplicate of the descriptor is open. A UNIX socket accepts this and closes as usual.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    try:
        sock.setsockopt(_SOL, socket.SO_LINGER, _LINGER.pack(1, 0))
    except OSError as exc:
        fail(exc, "abort")


def reset(sock: socket.socket) -> None:
    """Reset a TCP connection now, although another process may have its descriptor too.

    By connect(2) to no address, which Python does not offer, and which dissolves the connection:
    the kernel sends RST, and both sides find the end. Of any other socket both halves are shut
    down.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
    # Through the descriptor: the methods of a library's sockets may do more than these calls.
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = sock.fileno()
    if is_tcp and library.connect(descriptor, _NO_ADDRESS, len(_NO_ADDRESS)) == 0:
        return
    if library.shutdown(descriptor, socket.SHUT_RDWR) != 0:
        number = ctypes.get_errno()
        if number != errno.ENOTCONN:  # the peer was quicker
            fail(OSError(number, os.strerror(number)), "reset")
