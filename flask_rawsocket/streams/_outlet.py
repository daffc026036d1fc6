"""`Outlet`: a stream that groups write to, beside what its own handler writes.

A broadcast calls what writes a frame for each member, and nothing else. So that changes with the
state of the stream, which nobody asks for at every message.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ._stream import End, Stream
from ._writers import STALL_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._group import Member

__all__ = ["Outlet"]


class Outlet(Stream):
    """A stream that may be a member of groups."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._members: list[Member] = []
        self._is_full = False
        self._full_since = 0.0

    def _is_open(self) -> bool:
        """Tell whether messages may be sent."""
        raise NotImplementedError

    def writer_for(self, member: Member) -> Callable[[bytes], object]:
        """Return what writes the frames that `member` is sent; a full one drops the client."""
        self._members.append(member)
        return self._frame_writer()

    def said(self) -> Any:
        """Return something that changes with each message, of groups too."""
        return self.sent, [each.count_sent() for each in self._members]

    def forget(self, member: Member) -> None:
        """`member` has left."""
        self._members.remove(member)

    def _frame_writer(self) -> Callable[[bytes], object]:
        if not self._is_open():
            return bool
        write: Callable[[bytes], object] = self._drop if self._is_full else self._out.write
        return write

    def _drop(self, _frame: bytes) -> None:
        self.end(End.SLOW)

    def _rewire(self) -> None:
        """Have what groups send written, or not, as the state is now."""
        for member in self._members:
            member.write = self._frame_writer()

    def filled(self) -> None:
        """More than 64 KiB waits to be sent: one more message of a group is too much."""
        self._is_full = True
        self._full_since = asyncio.get_running_loop().time()
        self._rewire()

    def _is_stalled(self) -> bool:
        """Tell whether the client has read nothing for too long."""
        waited = asyncio.get_running_loop().time() - self._full_since
        return self._is_full and waited > STALL_LIMIT

    def emptied(self) -> None:
        self._is_full = False
        self._rewire()
