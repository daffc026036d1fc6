"""What FreeBSD, NetBSD and OpenBSD know about a socket; the same functions as for every system.

**Never run on a BSD.** Structures and numbers are from their headers; the decoders are tested with
bytes built from the structures. Numbers are literals, so that this file loads, and its decoders
run, on every system. Each of the three has a `_Numbers` with what differs between them.
"""

from __future__ import annotations

import errno
import platform
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from .._congestion import encode_name
from .._errno import fail, fail_tcp, require_family, unsupported
from .._place import Place
from .._tcp_info.layout_bsd import layout_of
from .._values import PeerCredentials, Queues
from .dead_peer import give_up_after
from .fallback import (
    congestion_info,
    cookie,
    original_destination,
    peer_pidfd,
    peer_security_label,
    save_syn,
    saved_syn,
)
from .posix import abort, ioctl_int, peer_status, reset

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

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

_SOL = 0xFFFF
_TCP = 6
_SOL_LOCAL = 0
_AF_UNIX = 1
_FIONREAD = 0x4004667F
_ASK = 512
_LONGEST_NAME = 64

_XUCRED = Struct("@IIh16IP")
"""FreeBSD's; the union at its end holds the pid since 13 (from memory), and NULL before that."""
_XUCRED_PID = Struct("@i")
_POINTER = Struct("@P").size
_NO_ALGORITHM = dict.fromkeys((errno.ESRCH, errno.ENOENT), "this kernel has no such algorithm")
"""FreeBSD says ESRCH (``tcp_usrreq.c``), NetBSD ENOENT (``tcp_congctl.c``, from memory)."""

_UNPCBID = Struct("=iII")
_SOCKPEERCRED = Struct("=IIi")


class _Numbers(NamedTuple):
    """The option numbers of one BSD; None for what it does not have."""

    tcp_info: int
    congestion: int | None
    fionwrite: int | None
    credentials: tuple[int, int, int]
    """Level, option and length of the peer's credentials."""
    options: Mapping[str, Place]


_COMMON = {
    "nodelay": Place(_TCP, 1),
    "keepalive": Place(_SOL, 0x0008),
    "send_buffer": Place(_SOL, 0x1001),
    "receive_buffer": Place(_SOL, 0x1002),
}
_FREEBSD = _Numbers(
    tcp_info=32,
    congestion=64,
    fionwrite=0x40046677,
    credentials=(_SOL_LOCAL, 1, _XUCRED.size),
    options=_COMMON
    | {
        "cork": Place(_TCP, 4),
        "keepalive_idle": Place(_TCP, 256),
        "keepalive_interval": Place(_TCP, 512),
        "keepalive_count": Place(_TCP, 1024),
        # TCP_MAXUNACKTIME, FreeBSD 14, seconds
        "user_timeout": Place(_TCP, 68, code="I", none=0),
        "pacing_rate": Place(_SOL, 0x1018, code="I", none=-1),
    },
)
_NETBSD = _Numbers(
    tcp_info=9,
    congestion=0x20,
    fionwrite=0x40046679,
    credentials=(_SOL_LOCAL, 3, _UNPCBID.size),
    options=_COMMON
    | {
        "keepalive_idle": Place(_TCP, 3),
        "keepalive_interval": Place(_TCP, 5),
        "keepalive_count": Place(_TCP, 6),
    },
)
_OPENBSD = _Numbers(
    tcp_info=9,
    congestion=None,
    fionwrite=None,
    credentials=(_SOL, 0x1022, _SOCKPEERCRED.size),
    options=_COMMON | {"cork": Place(_TCP, 16)},
)

SYSTEM = platform.system()
_HERE = {"NetBSD": _NETBSD, "OpenBSD": _OPENBSD}.get(SYSTEM, _FREEBSD)
_LAYOUT = layout_of(SYSTEM, platform.release())
OPTIONS = _HERE.options


def tcp_info(sock: socket.socket) -> TCPInfo:
    """Return what the kernel knows about a TCP connection (``TCP_INFO``).

    Raises:
        UnsupportedError: the socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed.
    """
    try:
        raw = sock.getsockopt(_TCP, _HERE.tcp_info, _ASK)
    except OSError as exc:
        fail_tcp(exc, sock, "tcp_info")
    return _LAYOUT.decode(raw)


def congestion(sock: socket.socket) -> str:
    """Return the name of the congestion control algorithm (``TCP_CONGESTION``, ``TCP_CONGCTL``).

    Raises:
        UnsupportedError: the system is OpenBSD, or the socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed.
    """
    if _HERE.congestion is None:
        raise unsupported("congestion", SYSTEM)
    try:
        raw = sock.getsockopt(_TCP, _HERE.congestion, _LONGEST_NAME)
    except OSError as exc:
        fail(exc, "congestion")
    return raw.partition(b"\0")[0].decode("ascii", "replace")


def set_congestion(sock: socket.socket, name: str) -> None:
    """Change the congestion control algorithm.

    Args:
        sock: a TCP socket.
        name: one of ``net.inet.tcp.cc.available`` (``net.inet.tcp.congctl.available``).

    Raises:
        TypeError: the name is not a str.
        ValueError: there is a NUL in it.
        UnsupportedError: the system is OpenBSD, the kernel does not have the algorithm, or the
            socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed.
    """
    if _HERE.congestion is None:
        raise unsupported("congestion", SYSTEM)
    raw = encode_name(name) + b"\0"
    try:
        sock.setsockopt(_TCP, _HERE.congestion, raw)
    except OSError as exc:
        fail(exc, f"congestion {name!r}", because=_NO_ALGORITHM)


def decode_xucred(raw: bytes) -> PeerCredentials:
    """Return the value of FreeBSD's ``struct xucred``, whose first group is the effective one.

    The pid is in a union with a pointer, after the groups.
    """
    _version, uid, count, *groups, _union = _XUCRED.unpack(raw)
    pid = _XUCRED_PID.unpack_from(raw, _XUCRED.size - _POINTER)[0]
    return PeerCredentials(pid or None, uid, groups[0], tuple(groups[1 : max(count, 1)]))


def decode_unpcbid(raw: bytes) -> PeerCredentials:
    """Return the value of NetBSD's ``struct unpcbid``, which has no groups."""
    pid, uid, gid = _UNPCBID.unpack(raw)
    return PeerCredentials(pid or None, uid, gid, None)


def decode_sockpeercred(raw: bytes) -> PeerCredentials:
    """Return the value of OpenBSD's ``struct sockpeercred``: another order, and no groups."""
    uid, gid, pid = _SOCKPEERCRED.unpack(raw)
    return PeerCredentials(pid or None, uid, gid, None)


_DECODE = {
    _FREEBSD.credentials: decode_xucred,
    _NETBSD.credentials: decode_unpcbid,
    _OPENBSD.credentials: decode_sockpeercred,
}


def peer_credentials(sock: socket.socket) -> PeerCredentials:
    """Return which process is at the other end of a UNIX socket, as of its ``connect()``.

    Raises:
        UnsupportedError: the socket is not a UNIX socket, so its peer has no credentials.
        ConnectionBrokenError: the socket was never connected.
        ConnectionClosedError: the socket has been closed.
    """
    require_family(sock, (_AF_UNIX,), "peer_credentials")
    level, option, length = _HERE.credentials
    try:
        raw = sock.getsockopt(level, option, length)
    except OSError as exc:
        fail(exc, "peer_credentials")
    return _DECODE[_HERE.credentials](raw)


def queues(sock: socket.socket) -> Queues:
    """Return how many bytes are in the queues (``FIONREAD``, ``FIONWRITE``).

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    receive = ioctl_int(sock, _FIONREAD, "queues")
    if sock.family == _AF_UNIX or _HERE.fionwrite is None:
        return Queues(receive, None, None)
    return Queues(receive, ioctl_int(sock, _HERE.fionwrite, "queues"), None)


def send_queue(sock: socket.socket) -> int | None:
    """Return how much of what was sent waits in the kernel (``FIONWRITE``), if that is known.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    return queues(sock).send


def set_dead_peer_timeout(sock: socket.socket, seconds: float | None) -> None:
    """End the connection once the peer has been silent for this long.

    Sets keepalive and ``TCP_MAXUNACKTIME`` together, in whole seconds, rounded up.

    Args:
        sock: a TCP socket.
        seconds: None turns keepalive off and resets the timeout to the system's default; the two
            times and the count of keepalive stay as they were set.

    Raises:
        TypeError: the time is not a number.
        ValueError: the time is not positive, or longer than 24 days.
        UnsupportedError: the system is NetBSD or OpenBSD, which have no timeout for unacknowledged
            data, or FreeBSD before 14; or the socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed.
    """
    give_up_after(sock, seconds, _HERE.options, SYSTEM)
