"""What Windows knows about a socket; the same functions as for every system.

**Never run on Windows.** Numbers and structures are from ``mstcpip.h``, ``ws2ipdef.h`` and
``afunix.h``; the decoder is tested with bytes built from them. ``socket.ioctl`` takes three codes
only, so ``WSAIoctl`` is called through ctypes. This file loads on every system.
"""

from __future__ import annotations

import ctypes
import errno
import sys
from struct import Struct
from typing import TYPE_CHECKING

from ...errors import ConnectionBrokenError
from .._enums import PeerStatus, TCPState
from .._errno import fail, open_fd, require_family
from .._place import Place
from .._tcp_info.layout_windows import WINDOWS
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

if TYPE_CHECKING:
    import socket

    from .._tcp_info.value import TCPInfo

assert not TYPE_CHECKING or sys.platform == "win32"  # noqa: S101  for mypy

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

SYSTEM = "Windows"

_SOL = 0xFFFF
_TCP = 6
_AF_UNIX = 1  # Python on Windows does not name it

_SO_KEEPALIVE = 0x0008
_SO_LINGER = 0x0080
_LINGER = Struct("=HH")
_TCP_NODELAY = 1
_TCP_KEEPIDLE = 3
_TCP_MAXRT = 5
_TCP_KEEPCNT = 16
_TCP_KEEPINTVL = 17

_FIONREAD = 0x4004667F
_SIO_TCP_INFO = 0xD8000027
_SIO_AF_UNIX_GETPEERPID = 0x58000100

_LENGTHS = {0: 88, 1: 136}
"""The lengths of TCP_INFO_v0 and v1; WSAIoctl takes the exact one only."""

_WSAEINVAL = 10022
"""What a Windows without SIO_TCP_INFO, or without this version of it, answers. In Python's
exception this is the ``winerror``; the ``errno`` is C's EINVAL (``PC/errmap.h``)."""

OPTIONS = {
    "nodelay": Place(_TCP, _TCP_NODELAY),
    "keepalive": Place(_SOL, _SO_KEEPALIVE),
    "keepalive_idle": Place(_TCP, _TCP_KEEPIDLE),
    "keepalive_interval": Place(_TCP, _TCP_KEEPINTVL),
    "keepalive_count": Place(_TCP, _TCP_KEEPCNT),
    "user_timeout": Place(_TCP, _TCP_MAXRT, none=0),
    "send_buffer": Place(_SOL, 0x1001),
    "receive_buffer": Place(_SOL, 0x1002),
}

_ENDED = {
    TCPState.CLOSE_WAIT: PeerStatus.FIN_RECEIVED,
    TCPState.CLOSING: PeerStatus.CLOSED,
    TCPState.LAST_ACK: PeerStatus.CLOSED,
    TCPState.TIME_WAIT: PeerStatus.CLOSED,
    TCPState.CLOSE: PeerStatus.CLOSED,
}


def _wsa_ioctl(fd: int, code: int, given: bytes, length: int) -> bytes:
    """Return what ``WSAIoctl`` fills in.

    The number of bytes returned is not trusted: for the peer's pid it is 0 (microsoft/WSL#4676).

    Raises:
        OSError: Winsock's error.
    """
    ws2_32 = ctypes.WinDLL("ws2_32", use_last_error=True)
    answer = ctypes.create_string_buffer(length)
    returned = ctypes.c_ulong(0)
    failed = ws2_32.WSAIoctl(
        ctypes.c_size_t(fd),
        ctypes.c_ulong(code),
        given,
        ctypes.c_ulong(len(given)),
        answer,
        ctypes.c_ulong(length),
        ctypes.byref(returned),
        None,
        None,
    )
    if failed:
        raise ctypes.WinError(ws2_32.WSAGetLastError())
    return answer.raw


def tcp_info(sock: socket.socket) -> TCPInfo:
    """Return what the system knows about a TCP connection (``SIO_TCP_INFO``).

    Raises:
        UnsupportedError: Windows is older than 10 (1703) or Server 2016, or the socket is not a TCP
            socket.
        ConnectionBrokenError: the connection was reset.
        ConnectionClosedError: the socket has been closed.
    """
    fd = open_fd(sock, "tcp_info")
    try:
        return WINDOWS.decode(_wsa_ioctl(fd, _SIO_TCP_INFO, Struct("=I").pack(1), _LENGTHS[1]))
    except OSError as exc:
        if getattr(exc, "winerror", None) != _WSAEINVAL:
            fail(exc, "tcp_info")
    try:
        return WINDOWS.decode(_wsa_ioctl(fd, _SIO_TCP_INFO, Struct("=I").pack(0), _LENGTHS[0]))
    except OSError as exc:
        fail(exc, "tcp_info", also_unsupported={errno.EINVAL})


def peer_credentials(sock: socket.socket) -> PeerCredentials:
    """Return which process is at the other end of a UNIX socket; only its pid is known.

    It is that of the process that created the peer's socket, even if another one uses it now.

    Raises:
        UnsupportedError: the socket is not a UNIX socket, so its peer has no credentials.
        ConnectionBrokenError: the socket was never connected.
        ConnectionClosedError: the socket has been closed.
    """
    fd = require_family(sock, (_AF_UNIX,), "peer_credentials")
    try:
        raw = _wsa_ioctl(fd, _SIO_AF_UNIX_GETPEERPID, b"", 4)
    except OSError as exc:
        fail(exc, "peer_credentials")
    return PeerCredentials(int.from_bytes(raw, "little") or None, None, None, None)


def queues(sock: socket.socket) -> Queues:
    """Return how many bytes wait to be read (``FIONREAD``); Windows does not report the rest.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    fd = open_fd(sock, "queues")
    try:
        raw = _wsa_ioctl(fd, _FIONREAD, b"", 4)
    except OSError as exc:
        fail(exc, "queues")
    return Queues(int.from_bytes(raw, "little"), None, None)


def send_queue(sock: socket.socket) -> int | None:
    """Return None: Windows does not report how much of what was sent waits in the kernel.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    return queues(sock).send


def set_dead_peer_timeout(sock: socket.socket, seconds: float | None) -> None:
    """End the connection once the peer has been silent for this long.

    Sets keepalive and ``TCP_MAXRT`` together, in whole seconds, rounded up.

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


def peer_status(sock: socket.socket) -> PeerStatus:
    """Return whether the peer is still there, judging by the state of the TCP connection.

    Raises:
        UnsupportedError: as for `tcp_info`; so for a UNIX socket, too.
        ConnectionClosedError: the socket has been closed.
    """
    try:
        state = tcp_info(sock).state
    except ConnectionBrokenError:
        return PeerStatus.RESET
    return PeerStatus.OPEN if state is None else _ENDED.get(state, PeerStatus.OPEN)


def abort(sock: socket.socket) -> None:
    """Make the coming close an abort: a TCP connection sends RST and drops queued data.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    try:
        sock.setsockopt(_SOL, _SO_LINGER, _LINGER.pack(1, 0))
    except OSError as exc:
        fail(exc, "abort")


def reset(sock: socket.socket) -> None:
    """Leave it to the close, which `abort` has made a reset: there is no other way here.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    abort(sock)
