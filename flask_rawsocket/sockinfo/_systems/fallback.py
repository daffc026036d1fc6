"""The functions for a system unknown to this package: each raises `UnsupportedError`.

The files of the other systems import those that their system lacks from here.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, NoReturn

from .._errno import open_fd, unsupported

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from .._congestion import BBRInfo, DCTCPInfo, VegasInfo
    from .._enums import PeerStatus
    from .._place import Place
    from .._tcp_info.value import TCPInfo
    from .._values import PeerCredentials, Queues

__all__ = [
    "OPTIONS",
    "SYSTEM",
    "abort",
    "congestion",
    "congestion_info",
    "cookie",
    "original_destination",
    "peer_credentials",
    "peer_pidfd",
    "peer_security_label",
    "peer_status",
    "queues",
    "reset",
    "save_syn",
    "saved_syn",
    "send_queue",
    "set_congestion",
    "set_dead_peer_timeout",
    "tcp_info",
]

SYSTEM = platform.system() or "this system"
OPTIONS: Mapping[str, Place] = {}


def _refuse(sock: socket.socket, operation: str) -> NoReturn:
    """Raise `ConnectionClosedError` for a closed socket, otherwise `UnsupportedError`."""
    open_fd(sock, operation)
    raise unsupported(operation, SYSTEM)


def tcp_info(sock: socket.socket) -> TCPInfo:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "tcp_info")


def congestion(sock: socket.socket) -> str:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "congestion")


def set_congestion(sock: socket.socket, name: str) -> None:  # noqa: ARG001  the contract
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "congestion")


def congestion_info(
    sock: socket.socket,
) -> BBRInfo | VegasInfo | DCTCPInfo | None:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "congestion_info")


def peer_credentials(sock: socket.socket) -> PeerCredentials:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "peer_credentials")


def peer_pidfd(sock: socket.socket) -> AbstractContextManager[int]:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "peer_pidfd")


def peer_security_label(sock: socket.socket) -> str | None:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "peer_security_label")


def queues(sock: socket.socket) -> Queues:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "queues")


def send_queue(sock: socket.socket) -> int | None:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "send_queue")


def set_dead_peer_timeout(sock: socket.socket, seconds: float | None) -> None:  # noqa: ARG001
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "set_dead_peer_timeout")


def cookie(sock: socket.socket) -> int:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "cookie")


def original_destination(sock: socket.socket) -> tuple[str, int]:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "original_destination")


def save_syn(listener: socket.socket) -> None:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(listener, "save_syn")


def saved_syn(sock: socket.socket) -> bytes | None:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "saved_syn")


def peer_status(sock: socket.socket) -> PeerStatus:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "peer_status")


def abort(sock: socket.socket) -> None:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "abort")


def reset(sock: socket.socket) -> NoReturn:
    """Raise `UnsupportedError`: this system does not have it."""
    _refuse(sock, "reset")
