"""Keepalive and the user timeout, set together, on Linux."""

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
"""The largest TCP_KEEPIDLE and TCP_KEEPINTVL (``net/tcp.h``); the smallest is 1."""

KEEPALIVE_COUNT_MAX = 127
"""The largest TCP_KEEPCNT; the smallest is 1."""

_SYSCTL = Path("/proc/sys/net/ipv4")
"""The values that a new socket gets; ``/proc`` shows those of the reader's network namespace."""


def set_dead_peer_timeout(sock: socket.socket, seconds: float | None) -> None:
    """End the connection once the peer has been silent for this long.

    Sets keepalive and ``TCP_USER_TIMEOUT`` together, since each alone misses a case: keepalive does
    not fire while sent data is unacknowledged, the user timeout does not fire while idle. Keepalive
    counts whole seconds and notices only at its next probe: an idle connection lives up to a
    quarter of the time longer, and for at least two seconds.

    A live peer that reads nothing for this long is given up as well, if data is waiting to be sent
    to it: the user timeout includes the time that the peer's window is closed, even though the peer
    answers every probe (tcp(7)). So choose a time longer than any pause of the reader.

    Args:
        sock: a TCP socket.
        seconds: None turns keepalive off, and resets the user timeout and the two times and the
            count of keepalive to the values of a new socket (``net.ipv4.tcp_keepalive_*``; the
            kernel's defaults if ``/proc`` cannot be read).

    Raises:
        TypeError: the time is not a number.
        ValueError: the time is not positive, or longer than 24 days.
        UnsupportedError: the socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed.
    """
    user = 0 if seconds is None else milliseconds(seconds, _OPERATION)
    idle, interval, count = _defaults() if seconds is None else _keepalive(seconds)
    try:
        # A UNIX socket refuses this one, so it comes first: nothing is left half set.
        sock.setsockopt(_TCP, socket.TCP_USER_TIMEOUT, user)
        sock.setsockopt(_TCP, socket.TCP_KEEPIDLE, idle)
        sock.setsockopt(_TCP, socket.TCP_KEEPINTVL, interval)
        sock.setsockopt(_TCP, socket.TCP_KEEPCNT, count)
        sock.setsockopt(_SOL, socket.SO_KEEPALIVE, int(seconds is not None))
    except OSError as exc:
        fail_tcp(exc, sock, _OPERATION)


def _keepalive(seconds: float) -> tuple[int, int, int]:
    """Return the idle time, interval and number of probes that notice within about this long."""
    idle = _within(int(seconds / 2), KEEPALIVE_MAX)
    interval = _within(int(seconds / 4), KEEPALIVE_MAX)
    # With a user timeout the kernel counts time instead of probes; the number takes effect if the
    # user timeout is lifted later.
    return idle, interval, _within(round((seconds - idle) / interval), KEEPALIVE_COUNT_MAX)


def _defaults() -> tuple[int, int, int]:
    """Return the idle time, interval and number of probes of a new socket.

    A socket cannot be made to follow the system's values again, as the kernel refuses 0 here. The
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
    except (OSError, ValueError):  # some sandboxes have no /proc; or not a plain number
        return fallback


def _within(number: int, largest: int) -> int:
    """Return the number within the bounds of ``setsockopt``; those of a sysctl are wider."""
    return min(max(1, number), largest)
