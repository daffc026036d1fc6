"""A question about a connection's live socket, which may move to another object meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..errors import ConnectionClosedError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["ask"]

_T = TypeVar("_T")


def ask(get_sock: Callable[[], socket.socket], question: Callable[[socket.socket], _T]) -> _T:
    """Return what a question answers of the live socket.

    A hijack moves the descriptor to a new socket, and whoever is asking the old one then finds it
    closed. But the new one is there before the old one is emptied: asked again, it answers.

    Args:
        get_sock: returns the live socket; what it raises is passed on.
        question: called with the socket, and again with each one that it has moved to meanwhile.

    Raises:
        ConnectionClosedError: the socket has been closed, and has not moved.
    """
    while True:
        sock = get_sock()
        try:
            return question(sock)
        except ConnectionClosedError:
            if get_sock() is sock:
                raise
