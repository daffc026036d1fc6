"""What Linux knows about a socket.

The functions have the same names and signatures in each system's file; `sockinfo` uses one of the
files. Numbers and behaviour were measured on Linux 6.18, x86_64.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import termios
from ipaddress import ip_address
from struct import Struct
from typing import TYPE_CHECKING

from ...errors import ConnectionClosedError
from .._enums import PeerStatus
from .._errno import OpenFd, fail, fail_tcp, require_family
from .._place import Place
from .._tcp_info.layout_linux import layout_of
from .._values import Queues
from . import linux_abort as _linux_abort
from . import linux_congestion as _linux_congestion
from . import linux_dead_peer as _linux_dead_peer
from . import linux_peer as _linux_peer
from .linux_numbers import NUMBERS
from .pristine_select import pristine

if TYPE_CHECKING:
    from .._tcp_info.value import TCPInfo

assert not TYPE_CHECKING or sys.platform == "linux"  # noqa: S101  for mypy

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

SYSTEM = "Linux"

abort = _linux_abort.abort
reset = _linux_abort.reset
congestion = _linux_congestion.congestion
congestion_info = _linux_congestion.congestion_info
set_congestion = _linux_congestion.set_congestion
peer_credentials = _linux_peer.peer_credentials
peer_pidfd = _linux_peer.peer_pidfd
peer_security_label = _linux_peer.peer_security_label
set_dead_peer_timeout = _linux_dead_peer.set_dead_peer_timeout

# Constants that Python has only from 3.12 on, or not at all.
_TCP_SAVE_SYN = 27
_TCP_SAVED_SYN = 28
_SO_ORIGINAL_DST = 80  # IP6T_SO_ORIGINAL_DST is the same number at the IPv6 level
_SIOCOUTQNSD = 0x894B

_INT = Struct("=i")
_SOCKADDR_IN = Struct("!2xH4s8x")
_SOCKADDR_IN6 = Struct("!2xH4x16s4x")

_ASK = 512
"""More than any release returns, so that the kernel decides the length: 256 bytes would cut off the
end of 6.18's 280."""

_LONGEST_SYN = 1024
"""An IP and a TCP header, both with options, take less than 200 bytes."""

_NO_NAT = {
    errno.ENOENT: "netfilter tracks no such connection",
    errno.ENOPROTOOPT: "netfilter's connection tracking is not loaded",
}
"""What ``getorigdst()`` of ``nf_conntrack_proto.c`` answers, and the kernel without that module."""

_TCP_INFO_CLASSES = layout_of(os.uname().release).classes

_SOL = socket.SOL_SOCKET
_TCP = socket.IPPROTO_TCP

_TIME_MAX = _linux_dead_peer.KEEPALIVE_MAX
_COUNT_MAX = _linux_dead_peer.KEEPALIVE_COUNT_MAX

OPTIONS = {
    "nodelay": Place(_TCP, socket.TCP_NODELAY),
    "cork": Place(_TCP, socket.TCP_CORK),
    "quickack": Place(_TCP, socket.TCP_QUICKACK),
    "keepalive": Place(_SOL, socket.SO_KEEPALIVE),
    "keepalive_idle": Place(_TCP, socket.TCP_KEEPIDLE, smallest=1, largest=_TIME_MAX),
    "keepalive_interval": Place(_TCP, socket.TCP_KEEPINTVL, smallest=1, largest=_TIME_MAX),
    "keepalive_count": Place(_TCP, socket.TCP_KEEPCNT, smallest=1, largest=_COUNT_MAX),
    "user_timeout": Place(_TCP, socket.TCP_USER_TIMEOUT, per_second=1000, none=0),
    "notsent_lowat": Place(_TCP, socket.TCP_NOTSENT_LOWAT, code="I", none=0),
    "pacing_rate": Place(_SOL, NUMBERS["SO_MAX_PACING_RATE"], code="L", none=-1),
    "priority": Place(_SOL, socket.SO_PRIORITY),
    "mark": Place(_SOL, NUMBERS["SO_MARK"], code="I"),
    "send_buffer": Place(_SOL, socket.SO_SNDBUF),
    "receive_buffer": Place(_SOL, socket.SO_RCVBUF),
    "incoming_cpu": Place(_SOL, NUMBERS["SO_INCOMING_CPU"], none=-1),
}


def tcp_info(sock: socket.socket) -> TCPInfo:
    """Return what the kernel knows about a TCP connection (``TCP_INFO``).

    For an MPTCP socket it describes the first subflow.

    Raises:
        UnsupportedError: the socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed. A connection that the peer reset still
            answers, with the `state` CLOSE.
    """
    try:
        raw = sock.getsockopt(_TCP, socket.TCP_INFO, _ASK)
    except OSError as exc:
        fail_tcp(exc, sock, "tcp_info")
    return _TCP_INFO_CLASSES[len(raw)](raw)


def queues(sock: socket.socket) -> Queues:
    """Return how many bytes are in the queues (``FIONREAD``, ``SIOCOUTQ``, ``SIOCOUTQNSD``).

    For a UNIX socket only `receive` is known in bytes.

    Raises:
        UnsupportedError: the socket is listening, and has no such queues.
        ConnectionClosedError: the socket has been closed.
    """
    with OpenFd(sock, "queues") as fd:
        receive = _ioctl_int(fd, termios.FIONREAD)
        if sock.family == socket.AF_UNIX:
            return Queues(receive, None, None)
        return Queues(receive, _ioctl_int(fd, termios.TIOCOUTQ), _ioctl_int(fd, _SIOCOUTQNSD))


def send_queue(sock: socket.socket) -> int | None:
    """Return how much of what was sent waits in the kernel (``SIOCOUTQ``).

    Of a TCP socket these are the bytes that are not acknowledged; of a UNIX socket it is the memory
    of what the peer has not read, buffer for buffer (unix_outq_len, net/unix/af_unix.c).

    Raises:
        UnsupportedError: the socket is listening, and has no such queue.
        ConnectionClosedError: the socket has been closed.
    """
    with OpenFd(sock, "send_queue") as fd:
        return _ioctl_int(fd, termios.TIOCOUTQ)


def _ioctl_int(fd: int, request: int) -> int:
    try:
        raw = fcntl.ioctl(fd, request, bytes(_INT.size))
    except OSError as exc:
        fail(exc, "queues", also_unsupported={errno.EINVAL})
    number: int = _INT.unpack(raw)[0]
    return number


def cookie(sock: socket.socket) -> int:
    """Return the number of the kernel's socket (``SO_COOKIE``), unique until the next boot.

    It is the same for every duplicate of the descriptor; ``ss -e`` shows it as ``sk``.

    Raises:
        UnsupportedError: Linux is older than 4.12.
        ConnectionClosedError: the socket has been closed.
    """
    try:
        raw = sock.getsockopt(_SOL, NUMBERS["SO_COOKIE"], 8)
    except OSError as exc:
        fail(exc, "cookie")
    return int.from_bytes(raw, sys.byteorder)


def original_destination(sock: socket.socket) -> tuple[str, int]:
    """Return the address that the client connected to, before this machine's NAT.

    This is ``SO_ORIGINAL_DST``.

    Returns:
        The host and the port.

    Raises:
        UnsupportedError: the socket is not an IP socket, or netfilter does not track connections
            here, or not this one.
        ConnectionClosedError: the socket has been closed.
    """
    require_family(sock, (socket.AF_INET, socket.AF_INET6), "original_destination")
    level, layout = socket.IPPROTO_IP, _SOCKADDR_IN
    try:
        # The kernel tracks a v4-mapped connection as IPv4. Look at our own address, as the peer's
        # is gone after a reset.
        if sock.family == socket.AF_INET6 and not _is_mapped(sock.getsockname()[0]):
            level, layout = socket.IPPROTO_IPV6, _SOCKADDR_IN6
        raw = sock.getsockopt(level, _SO_ORIGINAL_DST, layout.size)
    except OSError as exc:
        fail(exc, "original_destination", also_unsupported={errno.EINVAL}, because=_NO_NAT)
    port, host = layout.unpack(raw)
    return str(ip_address(host)), port


def _is_mapped(host: str) -> bool:
    address = ip_address(host.partition("%")[0])
    return address.version == 6 and address.ipv4_mapped is not None  # noqa: PLR2004  IPv6


def save_syn(listener: socket.socket) -> None:
    """Make a listening socket keep the SYN of each connection it accepts (``TCP_SAVE_SYN``).

    Call it before clients connect. It costs the kernel a few hundred bytes for each connection
    until `saved_syn` is called.

    Raises:
        UnsupportedError: the socket is not a TCP socket, or Linux is older than 4.2.
        ConnectionClosedError: the socket has been closed.
    """
    try:
        listener.setsockopt(_TCP, _TCP_SAVE_SYN, 1)
    except OSError as exc:
        fail_tcp(exc, listener, "save_syn")


def saved_syn(sock: socket.socket) -> bytes | None:
    """Return the IP and TCP headers of the SYN that opened an accepted connection.

    The kernel returns them **once**: a second call returns None. An IPv4 client of a dual-stack
    listener has an IPv4 header.

    Returns:
        None if the listener did not keep the SYN (`save_syn`), or if it was read before.

    Raises:
        UnsupportedError: the socket is not a TCP socket, or Linux is older than 4.2.
        ConnectionClosedError: the socket has been closed.
    """
    try:
        return sock.getsockopt(_TCP, _TCP_SAVED_SYN, _LONGEST_SYN) or None
    except OSError as exc:
        fail_tcp(exc, sock, "saved_syn")


def peer_status(sock: socket.socket) -> PeerStatus:
    """Return whether the peer is still there, without reading, writing or clearing anything.

    It uses ``poll`` for POLLRDHUP, which, unlike a peek, also sees a FIN behind unread data. It
    cannot see three things: a FIN behind more data than our window takes (it has not arrived), a
    TLS close_notify without a FIN (to the kernel that is data), and a peer that lost power. Once a
    ``recv`` has raised the reset, RESET becomes CLOSED: the kernel has forgotten it.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    with OpenFd(sock, "peer_status") as fd:
        # A new one for each call: two threads must not use one poll object at once.
        poller = pristine.poll()
        poller.register(fd, pristine.POLLRDHUP)
        events = sum(event for _, event in poller.poll(0))
    if events & pristine.POLLNVAL:
        raise ConnectionClosedError("peer_status: the socket is closed")
    if events & pristine.POLLHUP:
        return PeerStatus.RESET if events & pristine.POLLERR else PeerStatus.CLOSED
    # An error without a hang-up is not the end, but a message in the error queue.
    return PeerStatus.FIN_RECEIVED if events & pristine.POLLRDHUP else PeerStatus.OPEN
