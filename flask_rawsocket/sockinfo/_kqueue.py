"""Whether the peer is gone, by kqueue: for macOS and the BSDs, whose ``poll`` cannot tell.

Never run there; ``status_of`` is tested with recorded events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from flask_rawsocket.sockinfo._enums import PeerStatus
from flask_rawsocket.sockinfo._errno import fail, open_fd
from flask_rawsocket.sockinfo._poll import pristine

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

__all__ = ["Event", "peer_status", "status_of"]

_EV_ADD = 0x0001
_EV_EOF = 0x8000


class Event(NamedTuple):
    """What of a kevent counts here."""

    reading: bool
    """The event is about the direction from the peer to us."""
    eof: bool
    error: int
    """The socket's error, given with EOF in ``fflags``; reading it there does not clear it."""


def status_of(events: Iterable[Event]) -> PeerStatus:
    """Return the status that a socket's events tell."""
    ended = [event for event in events if event.eof]
    if any(event.error for event in ended):
        return PeerStatus.RESET
    directions = {event.reading for event in ended}
    if directions == {True, False}:
        return PeerStatus.CLOSED
    return PeerStatus.FIN_RECEIVED if True in directions else PeerStatus.OPEN


def peer_status(sock: socket.socket) -> PeerStatus:
    """Return whether the peer is still there, without reading, writing or clearing anything.

    The end of our own direction alone (we shut it down) does not count as the peer's.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    fd = open_fd(sock, "peer_status")
    # Any: typeshed has kqueue on the systems that have it, and this module is checked on all.
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
