"""Servers that are not ours: how to find the socket of a request in their environ.

A Connection made here is not managed: no server of ours sees it open, go idle or close, so it is in
no map and no hook hears of it. It is kept for as long as the server keeps the socket object, hence
for all the requests of one keep-alive connection.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ._connection.address import AF_UNIX, override_text, text_of
from ._connection.connection import Connection, life_of
from ._connection.state import ConnState
from .errors import UnsupportedError

if TYPE_CHECKING:
    from ._connection.address import SocketAddress

__all__ = ["find"]

_KEYS: Final = ("gunicorn.socket", "werkzeug.socket", "gunicorn.sock")
"""Where servers put it; the last is what gunicorn's ``gevent_pywsgi`` worker uses."""

_connections: weakref.WeakKeyDictionary[socket.socket, Connection] = weakref.WeakKeyDictionary()
_lock = threading.RLock()
"""Guards `_connections`; re-entrant, as the tracker's."""


def _after_fork() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def find(environ: dict[str, Any]) -> Connection | None:
    """Return the Connection of a request on a server that is not ours; None if it shows no socket.

    Args:
        environ: the request's WSGI environ.
    """
    sock = next((environ[key] for key in _KEYS if key in environ), None)
    if not isinstance(sock, socket.socket) or sock.fileno() < 0:
        return None
    with _lock:
        connection = _connections.get(sock)
        if connection is None:
            connection = _connections[sock] = _adopt(sock)
    return connection


class _ForeignKeeper:
    """Keeps the connections of servers that are not ours: there is nothing it can do for them."""

    def _refuse(self, connection: Connection, *_: object, **__: object) -> NoReturn:
        raise UnsupportedError(
            f"{connection!r} is kept by a server that is not ours; "
            "use flask_rawsocket.Worker or `flask rawsocket run`"
        )

    force_close = hijack = serve = abort = set_deadlines = set_min_rates = watch = _refuse

    def prepare_serving(self) -> None:
        """Do nothing: `hijack` refuses next."""


_keeper: Final = _ForeignKeeper()


class _ForeignConnection(Connection):
    """A Connection of a server of which nothing is heard."""

    __slots__ = ()
    managed = False

    @property
    def state(self) -> ConnState:
        """ACTIVE or CLOSED: it is seen in a request, and no more than that is known."""
        sock = life_of(self).sock
        return ConnState.CLOSED if sock is None or sock.fileno() < 0 else ConnState.ACTIVE


def _adopt(sock: socket.socket) -> Connection:
    remote: SocketAddress = ""
    # A peer that has reset the connection already has no name any more (ENOTCONN).
    with contextlib.suppress(OSError):
        remote = sock.getpeername()
    connection = _ForeignConnection(
        sock,
        _keeper,
        family=sock.family,
        remote_address=remote,
        local_address=sock.getsockname(),
    )
    life = life_of(connection)
    life.hold_weakly()  # the server keeps its socket alive, or nobody
    is_unix = sock.family == AF_UNIX
    life.key = override_text(os.getpid(), connection.id) if is_unix else text_of(remote)
    return connection
