"""Keepalive and the user timeout together, on Linux."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .._errno import fail_tcp
from .._place import milliseconds

assert not TYPE_CHECKING or sys.platform == "linux"  # noqa: S101  for mypy

__all__ = ["KEEPALIVE_COUNT_MAX", "KEEPALIVE_MAX", "set_dead_peer_timeout"]

_OPERATION = "set_dead_peer_timeout"
_SOL = socket.SOL_SOCKET
_TCP = socket.IPPROTO_TCP

KEEPALIVE_MAX = 32767
"""Bounds of TCP_KEEPIDLE and TCP_KEEPINTVL, and of TCP_KEEPCNT (``net/tcp.h``); all begin at 1."""
KEEPALIVE_COUNT_MAX = 127

_SYSCTL = Path("/proc/sys/net/ipv4")
"""What a new socket has; of the network namespace that the reader is in."""


def set_dead_peer_timeout(sock: socket.socket, seconds: float | None) -> None:
    """Give the connection up when the peer has been silent for so long.

    Keepalive and ``TCP_USER_TIMEOUT`` together, since either alone misses a case: keepalive does
    not fire while sent data is unacknowledged, the user timeout does not fire while idle. Keepalive
    counts whole seconds and notices at its next probe: an idle connection lives up to a quarter of
    the time longer, and never less than two seconds.

    A live peer that reads nothing for so long is given up as well, if something waits to be sent
    to it: the user timeout counts the time of a closed window even while each probe of it is
    answered (tcp(7)). So the time has to be longer than any pause of the reader.

    Args:
        sock: a TCP socket.
        seconds: None turns keepalive off, and gives the user timeout and the three numbers of
            keepalive the values that a new socket has (``net.ipv4.tcp_keepalive_*``; the kernel's
            own where ``/proc`` cannot be read).

    Raises:
        TypeError: the time is not a number.
        ValueError: the time is not positive, or longer than 24 days.
        UnsupportedError: the socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed.
    """
    user = 0 if seconds is None else milliseconds(seconds, _OPERATION)
    idle, interval, count = _defaults() if seconds is None else _keepalive(seconds)
    try:
        # First, because it is what a UNIX socket refuses: then nothing is half set.
        sock.setsockopt(_TCP, socket.TCP_USER_TIMEOUT, user)
        sock.setsockopt(_TCP, socket.TCP_KEEPIDLE, idle)
        sock.setsockopt(_TCP, socket.TCP_KEEPINTVL, interval)
        sock.setsockopt(_TCP, socket.TCP_KEEPCNT, count)
        sock.setsockopt(_SOL, socket.SO_KEEPALIVE, int(seconds is not None))
    except OSError as exc:
        fail_tcp(exc, sock, _OPERATION)


def _keepalive(seconds: float) -> tuple[int, int, int]:
    """Return idle time, interval and number of probes that notice within about so long."""
    idle = _within(int(seconds / 2), KEEPALIVE_MAX)
    interval = _within(int(seconds / 4), KEEPALIVE_MAX)
    # With a user timeout the kernel counts time and not probes; the number is for those who lift
    # the user timeout later.
    return idle, interval, _within(round((seconds - idle) / interval), KEEPALIVE_COUNT_MAX)


def _defaults() -> tuple[int, int, int]:
    """Return what a new socket has.

    A socket that follows the system's values again cannot be had: the kernel takes no 0 here. The
    fallbacks are TCP_KEEPALIVE_TIME and so on, of ``net/tcp.h``.
    """
    return (
        _within(_sysctl("tcp_keepalive_time", 7200), KEEPALIVE_MAX),
        _within(_sysctl("tcp_keepalive_intvl", 75), KEEPALIVE_MAX),
        _within(_sysctl("tcp_keepalive_probes", 9), KEEPALIVE_COUNT_MAX),
    )


def _sysctl(name: str, fallback: int) -> int:
    try:
        return int((_SYSCTL / name).read_text())
    except (OSError, ValueError):  # no /proc, as in some sandboxes; or not a plain number
        return fallback


def _within(number: int, largest: int) -> int:
    """Return the number that setsockopt takes: a sysctl, unlike it, has no bounds."""
    return min(max(1, number), largest)
