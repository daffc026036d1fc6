"""`ask`: a question about a connection's live socket, which may move to another object."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..errors import ConnectionClosedError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["ask"]

_T = TypeVar("_T")


def ask(get_sock: Callable[[], socket.socket], question: Callable[[socket.socket], _T]) -> _T:
    """Return the answer to a question about the live socket.

    A hijack in another thread moves the descriptor to a new socket object, and a question about the
    old one then fails as if it had been closed. The new object is set before the old one is
    emptied, so asking again gets the answer.

    Args:
        get_sock: returns the live socket; what it raises is passed on.
        question: called with the socket, and again with each one that it has moved to.

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
