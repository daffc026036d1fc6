"""Keepalive and a timeout for unacknowledged data, set together and in whole seconds.

For macOS, FreeBSD and Windows. Linux counts in milliseconds and has a file of its own for this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._errno import fail, unsupported
from .._place import milliseconds

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from .._place import Place

__all__ = ["give_up_after"]

_OPERATION = "set_dead_peer_timeout"
_PROBES = 2


def give_up_after(
    sock: socket.socket, seconds: float | None, table: Mapping[str, Place], system: str
) -> None:
    """End the connection once the peer has been silent for this long.

    Args:
        sock: a TCP socket.
        seconds: rounded up to whole ones; None turns keepalive and the timeout off. The two times
            and the count of keepalive then stay as they are, as the defaults are not known here.
        table: where this system keeps its options.
        system: its name, for the text of an error.

    Raises:
        TypeError: the time is not a number.
        ValueError: the time is not positive, or longer than 24 days.
        UnsupportedError: the system has no such timeout, or the socket is not a TCP socket.
        ConnectionClosedError: the socket has been closed.
    """
    if "user_timeout" not in table:
        raise unsupported(_OPERATION, system)
    whole = 0 if seconds is None else -(-milliseconds(seconds, _OPERATION) // 1000)
    # A UNIX socket refuses the first of these, so that nothing is left half set.
    wanted = {"user_timeout": whole}
    if whole:
        wanted["keepalive_idle"] = max(1, whole // 2)
        wanted["keepalive_interval"] = max(1, whole // 4)
        wanted["keepalive_count"] = _PROBES
    wanted["keepalive"] = int(whole > 0)
    try:
        for name, value in wanted.items():
            sock.setsockopt(table[name].level, table[name].number, value)
    except OSError as exc:
        fail(exc, _OPERATION)
