"""`LiveSocket`: the one live socket of a Connection, wherever it has moved.

`hijack` moves the descriptor of a plain socket to a new object. A thread that asks the old one
meanwhile finds it closed, and is sent on to the new one here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..errors import ConnectionClosedError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .life import Life

__all__ = ["LiveSocket"]

_T = TypeVar("_T")


class LiveSocket:
    """The base of `Connection`: its record, and the socket that the record holds."""

    __slots__ = ("_life",)

    def __init__(self, life: Life) -> None:
        self._life = life

    @property
    def sock(self) -> socket.socket:
        """The live socket, a ``socket.socket`` or under TLS an ``ssl.SSLSocket``.

        The server goes on using it. Read facts and set options; to read or write bytes yourself,
        hijack the connection. A timeout that you set ends with the request.

        Raises:
            ConnectionClosedError: it has been closed.
        """
        sock = self._life.sock
        if sock is None or sock.fileno() < 0:
            sock = self._life.open_sock()  # it may be moving to another object
        if sock is None:
            raise self._closed_error()
        return sock

    def fileno(self) -> int:
        """Return the descriptor, which is the server's to close.

        Raises:
            ConnectionClosedError: it has been closed.
        """
        while (descriptor := self.sock.fileno()) < 0:
            pass  # it has moved, or been closed, since `sock` looked
        return descriptor

    def _ask(self, question: Callable[[socket.socket], _T]) -> _T:
        """Return what `question` answers of the live socket, asked again where that has moved.

        An answer counts only if the descriptor was open to the end of it: one that is closed
        meanwhile may be another connection's by then.

        Raises:
            ConnectionClosedError: it has been closed.
        """
        while True:
            sock = self.sock
            try:
                answer = question(sock)
            except ConnectionClosedError:
                if self._life.open_sock() in (None, sock):
                    raise
                continue
            if sock.fileno() < 0:
                self.fileno()  # raises, unless the descriptor has only moved
            return answer

    def _closed_error(self) -> ConnectionClosedError:
        return ConnectionClosedError(f"{self!r} has been closed")
