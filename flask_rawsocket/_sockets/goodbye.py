"""How a connection is ended for its peer, before the hooks run and the descriptor is closed.

Not by the close alone: that is none for the peer while another process, or a duplicate, has the
descriptor too. And a hook that takes its time is not to delay what the peer sees: a client, or a
proxy, would send its next request into a connection that nobody reads any more.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Final

from .. import sockinfo
from .._connection import ending
from .._connection.life import moving
from ..errors import RawSocketError

if TYPE_CHECKING:
    from .duties import Duties
    from .tracked import Tracked

__all__ = ["say_goodbye"]

_PATIENCE: Final = 0.1
"""Seconds for the owner's other threads to leave their calls, before the peer is told."""


def say_goodbye(sock: Tracked, duties: Duties) -> None:
    """Send the end, once: close_notify and FIN, or the reset of an aborted connection.

    Args:
        sock: the socket that has the descriptor.
        duties: its.
    """
    connection = duties.connection
    if connection is None or not duties.tracker.is_live(connection):
        return  # in a forked child the connection is the parent's
    in_use = _is_in_use(sock, duties)
    with moving():
        said, duties.goodbye_said = duties.goodbye_said, True
    if said:
        return
    # Before: afterwards the kernel cannot tell our end from the peer's.
    exchange = duties.life.exchange
    left = exchange is not None and not exchange.hijacked
    if left and exchange.thread != threading.get_ident():  # type: ignore[union-attr]
        ending.app_has_ended(duties.life)  # a server closes in the thread of the request
    ending.settle_end(duties.life)
    duties.life.ended_here = True
    # As a call in progress: a thread that closes now leaves the descriptor to us.
    call = duties.calls.last() if duties.calls is not None else contextlib.nullcontext()
    # Where the peer, another thread or the system is in the way, the close comes all the same.
    with contextlib.suppress(OSError, ValueError, RawSocketError), call:
        _send_end(sock, duties, in_use=in_use)


def _send_end(sock: Tracked, duties: Duties, *, in_use: bool) -> None:
    if duties.is_aborted or _resets(sock):
        sockinfo.reset(sock)
    elif in_use:
        sock.shutdown_raw(socket.SHUT_RDWR)  # OpenSSL takes one call at a time
    else:
        sock.end_halves(socket.SHUT_RDWR)


def _is_in_use(sock: Tracked, duties: Duties) -> bool:
    """Wake the owner's other threads; tell whether one of them is still in a call."""
    if duties.goodbye_said or duties.calls is None:
        return False
    # First: under TLS a call that began now would meet ours in OpenSSL, and our timeout of 0.
    duties.calls.refuse()
    if not duties.calls.busy:
        return False
    ending.settle_end(duties.life)
    duties.life.ended_here = True
    with contextlib.suppress(OSError):
        sock.shutdown_raw(socket.SHUT_RD)
    return not duties.calls.wait_idle(_PATIENCE)


def _resets(sock: Tracked) -> bool:
    """Tell whether the application has made the coming close a reset (SO_LINGER without time)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    half = len(raw) // 2
    return any(raw[:half]) and not any(raw[half:])
