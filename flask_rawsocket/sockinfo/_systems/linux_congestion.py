"""The congestion control algorithm of a TCP socket, on Linux."""

from __future__ import annotations

import errno
import socket
import sys
from typing import TYPE_CHECKING

from .._congestion import decode_congestion, encode_name
from .._errno import fail, fail_tcp

if TYPE_CHECKING:
    from .._congestion import BBRInfo, DCTCPInfo, VegasInfo

assert not TYPE_CHECKING or sys.platform == "linux"  # noqa: S101  for mypy

__all__ = ["congestion", "congestion_info", "set_congestion"]

_TCP = socket.IPPROTO_TCP
_TCP_CC_INFO = 26  # Python does not name it
_LONGEST_NAME = 16  # TCP_CA_NAME_MAX

_ASK = 512
"""More than any algorithm returns."""

_NO_ALGORITHM = dict.fromkeys((errno.ENOENT, errno.EINVAL), "this kernel has no such algorithm")
"""EINVAL is for an empty name: the option's value is too short."""


def congestion(sock: socket.socket) -> str:
    """Return the name of the congestion control algorithm (``TCP_CONGESTION``), such as ``cubic``.

    Raises:
        UnsupportedError: the socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed.
    """
    return _congestion(sock, "congestion")


def _congestion(sock: socket.socket, operation: str) -> str:
    try:
        raw = sock.getsockopt(_TCP, socket.TCP_CONGESTION, _LONGEST_NAME)
    except OSError as exc:
        fail_tcp(exc, sock, operation)
    return raw.partition(b"\0")[0].decode("ascii", "replace")


def set_congestion(sock: socket.socket, name: str) -> None:
    """Change the congestion control algorithm.

    Args:
        sock: a TCP socket.
        name: one of ``net.ipv4.tcp_available_congestion_control``.

    Raises:
        TypeError: the name is not a str.
        ValueError: there is a NUL in it.
        UnsupportedError: the kernel does not have the algorithm, or has not loaded it; or the
            socket is not a TCP socket.
        PermissionError: it is not in ``net.ipv4.tcp_allowed_congestion_control``, and we lack
            CAP_NET_ADMIN.
        ConnectionClosedError: the socket has been closed.
    """
    raw = encode_name(name)
    try:
        sock.setsockopt(_TCP, socket.TCP_CONGESTION, raw)
    except OSError as exc:
        fail(exc, f"congestion {name!r}", because=_NO_ALGORITHM)


def congestion_info(sock: socket.socket) -> BBRInfo | VegasInfo | DCTCPInfo | None:
    """Return what the algorithm reports (``TCP_CC_INFO``); None if it reports nothing.

    Raises:
        UnsupportedError: the socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed.
    """
    name = _congestion(sock, "congestion_info")
    try:
        raw = sock.getsockopt(_TCP, _TCP_CC_INFO, _ASK)
    except OSError as exc:
        fail(exc, "congestion_info")
    return decode_congestion(name, raw)
