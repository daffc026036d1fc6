"""What a system unknown to this package offers: every operation says that it does not."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from flask_rawsocket.sockinfo._errno import unsupported

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from flask_rawsocket.sockinfo._congestion import BBRInfo, DCTCPInfo, VegasInfo
    from flask_rawsocket.sockinfo._enums import PeerStatus
    from flask_rawsocket.sockinfo._options import Place
    from flask_rawsocket.sockinfo._tcpinfo import TCPInfo
    from flask_rawsocket.sockinfo._values import PeerCredentials, Queues

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
    "peer_status",
    "queues",
    "save_syn",
    "saved_syn",
    "set_congestion",
    "set_dead_peer_timeout",
    "tcp_info",
]

SYSTEM = platform.system() or "this system"
OPTIONS: Mapping[str, Place] = {}


def tcp_info(sock: socket.socket) -> TCPInfo:  # noqa: ARG001 - the signature is the contract
    """Raise ``UnsupportedError``."""
    raise unsupported("tcp_info", SYSTEM)


def congestion(sock: socket.socket) -> str:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("congestion", SYSTEM)


def set_congestion(sock: socket.socket, name: str) -> None:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("congestion", SYSTEM)


def congestion_info(
    sock: socket.socket,  # noqa: ARG001
) -> BBRInfo | VegasInfo | DCTCPInfo | None:
    """Raise ``UnsupportedError``."""
    raise unsupported("congestion_info", SYSTEM)


def peer_credentials(sock: socket.socket) -> PeerCredentials:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("peer_credentials", SYSTEM)


def peer_pidfd(sock: socket.socket) -> AbstractContextManager[int]:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("peer_pidfd", SYSTEM)


def queues(sock: socket.socket) -> Queues:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("queues", SYSTEM)


def set_dead_peer_timeout(sock: socket.socket, seconds: float | None) -> None:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("set_dead_peer_timeout", SYSTEM)


def cookie(sock: socket.socket) -> int:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("cookie", SYSTEM)


def original_destination(sock: socket.socket) -> tuple[str, int]:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("original_destination", SYSTEM)


def save_syn(listener: socket.socket) -> None:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("save_syn", SYSTEM)


def saved_syn(sock: socket.socket) -> bytes | None:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("saved_syn", SYSTEM)


def peer_status(sock: socket.socket) -> PeerStatus:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("peer_status", SYSTEM)


def abort(sock: socket.socket) -> None:  # noqa: ARG001
    """Raise ``UnsupportedError``."""
    raise unsupported("abort", SYSTEM)
