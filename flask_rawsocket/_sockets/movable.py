"""`Movable`: a tracked socket without TLS, whose descriptor moves to the object of its new owner.

What it is made of is not known here: Python's own socket, or that of a library.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from .._connection.life import moving
from .calls import CallsInProgress
from .tracked import Tracked

if TYPE_CHECKING:
    from .duties import Duties

__all__ = ["Movable", "Owned"]


class Movable(Tracked):
    """A tracked socket whose descriptor another one can have."""

    __slots__ = ()

    owned_class: type[Movable]
    """What the new owner of a connection gets, which is made of what this is made of."""

    def take_up(self, duties: Duties) -> None:
        """Have this socket's duties; it is the one that has the connection's descriptor."""
        self.duties = duties

    def drop_duties(self) -> Duties | None:
        """Return the duties, which are another socket's from now on."""
        duties, self.duties = self.duties, None
        return duties

    def give_away(self) -> Movable:
        """Move the descriptor to a new socket; this one, which the server has, is an empty shell.

        Raises:
            OSError: EBADF; another thread has closed or moved it.
        """
        with moving():
            duties = self.duties_to_move()
            like = self.family, self.type, self.proto
            timeout = self.gettimeout()
            # First it is nobody's: two objects that have one number could both close it.
            moved = self.owned_class(*like, self.detach_raw())
            if timeout is not None:
                moved.settimeout(timeout)
            self.duties = None
            duties.head_due = False
            duties.head_complete()
            duties.lift()
            duties.calls = duties.calls or CallsInProgress()
            moved.take_up(duties)
            duties.life.sock = moved
        return moved

    def detach_raw(self) -> int:
        """Return the descriptor, which this object has no more; nothing is reported."""
        return socket.socket.detach(self)


class Owned(Movable):
    """What a connection's new owner has: a close finds the calls that other threads make."""

    __slots__ = ()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Read as ``socket.recv`` does."""
        with self._calls:
            return super().recv(bufsize, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Read as ``socket.recv_into`` does."""
        with self._calls:
            return super().recv_into(buffer, nbytes, flags)

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Write as ``socket.send`` does."""
        with self._calls:
            return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Write as ``socket.sendall`` does."""
        with self._calls:
            super().sendall(data, flags)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Write as ``socket.sendfile`` does."""
        with self._calls:
            return super().sendfile(file, offset, count)

    @property
    def _calls(self) -> contextlib.AbstractContextManager[None]:
        # A duplicate of the socket has neither duties nor calls that anybody waits for.
        calls = self.duties.calls if self.duties is not None else None
        return calls if calls is not None else contextlib.nullcontext()
