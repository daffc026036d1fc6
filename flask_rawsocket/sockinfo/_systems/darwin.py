"""What macOS knows about a socket; the same functions as for every system.

**Never run on a Mac.** Numbers and structures are from xnu's headers and sources; the decoders are
tested with bytes built from them. Numbers are literals, not Python's constants, so that this file
loads, and its decoders run, on every system.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from .._errno import fail, fail_tcp, require_family
from .._place import Place
from .._tcp_info.layout_darwin import DARWIN
from .._values import PeerCredentials, Queues
from .dead_peer import give_up_after
from .fallback import (
    congestion,
    congestion_info,
    cookie,
    original_destination,
    peer_pidfd,
    peer_security_label,
    save_syn,
    saved_syn,
    set_congestion,
)
from .posix import abort, ioctl_int, peer_status, reset

if TYPE_CHECKING:
    import socket

    from .._tcp_info.value import TCPInfo

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

SYSTEM = "macOS"

_SOL = 0xFFFF
_TCP = 6
_SOL_LOCAL = 0
_AF_UNIX = 1

_SO_KEEPALIVE = 0x0008
_SO_NWRITE = 0x1024
_TCP_NODELAY = 0x01
_TCP_NOPUSH = 0x04
_TCP_KEEPALIVE = 0x10
_TCP_RXT_CONNDROPTIME = 0x80
_TCP_KEEPINTVL = 0x101
_TCP_KEEPCNT = 0x102
_TCP_CONNECTION_INFO = 0x106
_TCP_NOTSENT_LOWAT = 0x201
_LOCAL_PEERCRED = 1
_LOCAL_PEERPID = 2
_FIONREAD = 0x4004667F

_ASK = 512
_XUCRED = Struct("=IIh2x16I")

OPTIONS = {
    "nodelay": Place(_TCP, _TCP_NODELAY),
    "cork": Place(_TCP, _TCP_NOPUSH),
    "keepalive": Place(_SOL, _SO_KEEPALIVE),
    "keepalive_idle": Place(_TCP, _TCP_KEEPALIVE),
    "keepalive_interval": Place(_TCP, _TCP_KEEPINTVL),
    "keepalive_count": Place(_TCP, _TCP_KEEPCNT),
    "user_timeout": Place(_TCP, _TCP_RXT_CONNDROPTIME, none=0),
    "notsent_lowat": Place(_TCP, _TCP_NOTSENT_LOWAT, none=0),
    "send_buffer": Place(_SOL, 0x1001),
    "receive_buffer": Place(_SOL, 0x1002),
}


def tcp_info(sock: socket.socket) -> TCPInfo:
    """Return what the kernel knows about a TCP connection (``TCP_CONNECTION_INFO``).

    Raises:
        UnsupportedError: the socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed.
    """
    try:
        raw = sock.getsockopt(_TCP, _TCP_CONNECTION_INFO, _ASK)
    except OSError as exc:
        fail_tcp(exc, sock, "tcp_info")
    return DARWIN.decode(raw)


def decode_credentials(raw: bytes, pid: int | None) -> PeerCredentials:
    """Return the value of a ``struct xucred``, whose first group is the effective one."""
    _version, uid, count, *groups = _XUCRED.unpack(raw)
    return PeerCredentials(pid or None, uid, groups[0], tuple(groups[1 : max(count, 1)]))


def peer_credentials(sock: socket.socket) -> PeerCredentials:
    """Return which user is at the other end of a UNIX socket, as of its ``connect()``.

    The pid is that of the process that last used the peer's socket; None once that is closed.

    Raises:
        UnsupportedError: the socket is not a UNIX socket, so its peer has no credentials.
        ConnectionBrokenError: the socket was never connected.
        ConnectionClosedError: the socket has been closed.
    """
    require_family(sock, (_AF_UNIX,), "peer_credentials")
    try:
        raw = sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size)
    except OSError as exc:
        fail(exc, "peer_credentials")
    try:
        pid = sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID)
    except OSError:  # ENOTCONN: the peer is gone, and its pid with it
        pid = 0
    return decode_credentials(raw, pid)


def queues(sock: socket.socket) -> Queues:
    """Return how many bytes are in the queues (``FIONREAD``, ``SO_NWRITE``).

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    receive = ioctl_int(sock, _FIONREAD, "queues")
    if sock.family == _AF_UNIX:
        return Queues(receive, None, None)
    try:
        send = sock.getsockopt(_SOL, _SO_NWRITE)
    except OSError as exc:
        fail(exc, "queues")
    return Queues(receive, send, None)


def send_queue(sock: socket.socket) -> int | None:
    """Return how much of what was sent waits in the kernel (``SO_NWRITE``), if that is known.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    return queues(sock).send


def set_dead_peer_timeout(sock: socket.socket, seconds: float | None) -> None:
    """End the connection once the peer has been silent for this long.

    Sets keepalive and ``TCP_RXT_CONNDROPTIME`` together, in whole seconds, rounded up.

    Args:
        sock: a TCP socket.
        seconds: None turns keepalive off and resets the timeout to the system's default; the two
            times and the count of keepalive stay as they were set.

    Raises:
        TypeError: the time is not a number.
        ValueError: the time is not positive, or longer than 24 days.
        UnsupportedError: the socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed.
    """
    give_up_after(sock, seconds, OPTIONS, SYSTEM)
