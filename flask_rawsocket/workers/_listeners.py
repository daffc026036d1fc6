"""`Listeners`: who else has a worker's listening sockets, and how it lets go of them.

A worker that ends alone, at a HUP or after `max_requests`, leaves what the kernel has queued to the
arbiter's other workers, present or future. Where the arbiter stops there are none, and what nobody
accepts would be reset. The worker's signal is the same. So it looks at a pipe: its writing end is
open where the arbiter has its listeners open, and nowhere else.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gunicorn import util

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from .._sockets.listener import Listener

__all__ = ["Listeners"]

_FROM_SYSTEMD: Final = "LISTEN_FDS" in os.environ
"""Asked before the arbiter opens its listeners, which removes it."""


@dataclass
class _Pipe:
    """Open for writing while its maker has the sockets open for which it was made."""

    reading: int
    writing: int
    end: weakref.finalize[Any, Any]


_pipes: weakref.WeakKeyDictionary[socket.socket, _Pipe] = weakref.WeakKeyDictionary()
"""By the first of the listening sockets, in the arbiter; its workers inherit them."""


def _pipe_of(sock: socket.socket) -> _Pipe:
    pipe = _pipes.get(sock)
    if pipe is None:
        reading, writing = os.pipe()
        util.set_non_blocking(reading)
        # As the listeners are: an arbiter that takes this one's place (USR2) has both.
        os.set_inheritable(writing, True)  # noqa: FBT003  it takes no name
        end = weakref.finalize(sock, _close_both, reading, writing)
        end.atexit = False
        pipe = _pipes[sock] = _Pipe(reading, writing, end)
    return pipe


def _close_both(reading: int, writing: int) -> None:
    os.close(reading)
    os.close(writing)


class Listeners:
    """What a worker knows of its listening sockets; made in the arbiter, before the fork.

    Args:
        sockets: gunicorn's; none yet where each worker has its own (`reuse_port`).
        cfg: gunicorn's settings.
    """

    def __init__(self, sockets: list[Any], cfg: Any) -> None:
        self._pipe = _pipe_of(sockets[0].sock) if sockets else None
        given = any(isinstance(each, int) for each in cfg.address)  # fd://
        self._ours = not (given or _FROM_SYSTEMD or "GUNICORN_PID" in os.environ)
        """Whether gunicorn itself has opened the sockets, and shares them with no other program."""

    def enter_worker(self) -> None:
        """The worker has begun: let go of its copy of what only the arbiter is to have."""
        if self._pipe is not None:
            self._pipe.end.detach()
            os.close(self._pipe.writing)

    @property
    def watched(self) -> int | None:
        """A descriptor that is readable once nobody else would accept; None if that is so now."""
        if self._pipe is None:
            return None
        try:
            os.read(self._pipe.reading, 1)
        except BlockingIOError:
            return self._pipe.reading
        return None

    def let_go(self, listeners: Iterable[Listener]) -> bool:
        """The worker stops: accept what nobody else would, and close its copies.

        Args:
            listeners: the worker's; `Listener.accept` returns what was queued.

        Returns:
            Whether that is done. If not, somebody else accepts, or descriptors have run out.
        """
        if self.watched is not None:
            return False
        if self._ours:
            for each in listeners:
                each.refuse()
        drained = [each.drain() for each in listeners]  # each of them, whatever the others say
        return all(drained)
