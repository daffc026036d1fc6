"""The few calls that the BSDs and macOS make alike; independent of any one of them."""

from __future__ import annotations

from importlib import import_module
from struct import Struct
from typing import TYPE_CHECKING

from flask_rawsocket.sockinfo._errno import OpenFd, fail

if TYPE_CHECKING:
    import socket

__all__ = ["abort", "ioctl_int"]

_INT = Struct("=i")

_SOL_SOCKET = 0xFFFF
_SO_LINGER = 0x0080
_LINGER = Struct("@ii")


def ioctl_int(sock: socket.socket, request: int, operation: str) -> int:
    """Return the ``int`` that an ioctl fills in.

    Raises:
        ConnectionClosedError: the socket has been closed.
        UnsupportedError: this socket has no such ioctl.
    """
    # By name: Windows has no fcntl, and this file is imported and type-checked there too.
    ioctl = import_module("fcntl").ioctl
    with OpenFd(sock, operation) as fd:
        try:
            raw: bytes = ioctl(fd, request, bytes(_INT.size))
        except OSError as exc:
            fail(exc, operation)
    number: int = _INT.unpack(raw)[0]
    return number


def abort(sock: socket.socket) -> None:
    """Make the close to come an abort: a TCP connection sends RST and drops what is queued.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    try:
        sock.setsockopt(_SOL_SOCKET, _SO_LINGER, _LINGER.pack(1, 0))
    except OSError as exc:
        fail(exc, "abort")
