"""The calls that are the same on the BSDs and macOS."""

from __future__ import annotations

from importlib import import_module
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from .._enums import PeerStatus
from .._errno import OpenFd, fail, open_fd
from .pristine_select import pristine

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

__all__ = ["Event", "abort", "ioctl_int", "peer_status", "reset", "status_of"]

_INT = Struct("=i")

_SOL_SOCKET = 0xFFFF
_SO_LINGER = 0x0080
_LINGER = Struct("@ii")
_EV_ADD = 0x0001
_EV_EOF = 0x8000


def ioctl_int(sock: socket.socket, request: int, operation: str) -> int:
    """Return the ``int`` that an ioctl fills in.

    Raises:
        ConnectionClosedError: the socket has been closed.
        UnsupportedError: this socket does not have the ioctl.
    """
    # Imported by name: Windows has no fcntl, but this file is imported and type-checked there too.
    ioctl = import_module("fcntl").ioctl
    with OpenFd(sock, operation) as fd:
        try:
            raw: bytes = ioctl(fd, request, bytes(_INT.size))
        except OSError as exc:
            fail(exc, operation)
    number: int = _INT.unpack(raw)[0]
    return number


def abort(sock: socket.socket) -> None:
    """Make the coming close an abort: a TCP connection sends RST and drops queued data.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    try:
        sock.setsockopt(_SOL_SOCKET, _SO_LINGER, _LINGER.pack(1, 0))
    except OSError as exc:
        fail(exc, "abort")


def reset(sock: socket.socket) -> None:
    """Leave it to the close, which `abort` has made a reset: there is no other way here.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    abort(sock)


class Event(NamedTuple):
    """The parts of a kevent that matter here."""

    reading: bool
    """Whether the event is about the direction from the peer to us."""
    eof: bool
    error: int
    """The socket's error, which comes with EOF in ``fflags``; reading it does not clear it."""


def status_of(events: Iterable[Event]) -> PeerStatus:
    """Return the status that a socket's events mean."""
    ended = [event for event in events if event.eof]
    if any(event.error for event in ended):
        return PeerStatus.RESET
    directions = {event.reading for event in ended}
    if directions == {True, False}:
        return PeerStatus.CLOSED
    return PeerStatus.FIN_RECEIVED if True in directions else PeerStatus.OPEN


def peer_status(sock: socket.socket) -> PeerStatus:
    """Return whether the peer is still there, without reading, writing or clearing anything.

    If only our own direction has ended (we shut it down), the peer is still OPEN.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    fd = open_fd(sock, "peer_status")
    # Any: typeshed declares kqueue only on systems that have it; this file is checked on all.
    system: Any = pristine
    reading, writing = system.KQ_FILTER_READ, system.KQ_FILTER_WRITE  # NetBSD's numbers differ
    changes = [system.kevent(fd, filter_, _EV_ADD) for filter_ in (reading, writing)]
    queue = system.kqueue()
    try:
        found = queue.control(changes, len(changes), 0)
    except OSError as exc:
        fail(exc, "peer_status")
    finally:
        queue.close()
    return status_of(
        Event(e.filter == reading, bool(e.flags & _EV_EOF), e.fflags if e.flags & _EV_EOF else 0)
        for e in found
    )
