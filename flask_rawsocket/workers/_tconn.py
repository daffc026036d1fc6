"""`TConn`: a connection as the thread worker keeps it, and the queues in which it waits."""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from gunicorn.workers import gthread

from .._sockets.deadlines import READ, ready
from .._sockets.plain import DONT_WAIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MethodQueue", "Outcome", "Queue", "TConn", "close", "close_may_wait", "drained"]

LINGER_BYTES: Final = 65536
"""How much it may send; likewise."""


_LINGER: Final = struct.Struct("ii")
"""``struct linger`` (socket(7))."""


class Outcome(enum.Enum):
    """What is to become of a connection that a pool thread has let go."""

    KEEP = "wait for its next request"
    WAIT = "wait for its first byte"
    BACK = "wait on, as before: what has come is nothing of a request"
    LEFT = "give a thread of the application's, which has it too, a moment; then let it linger"
    LINGER = "let it finish its closing handshake"
    CLOSE = "close it, if that has not been done"
    FORGET = "nothing: it has been hijacked"


class Queue:
    """What gunicorn does with its deques of connections, with a `remove` that need not search.

    gunicorn removes a connection whenever it becomes readable; beside 5,000 idle ones that was a
    search through 5,000.
    """

    def __init__(self) -> None:
        self._conns: OrderedDict[TConn, None] = OrderedDict()

    def append(self, conn: TConn) -> None:
        self._conns[conn] = None

    def remove(self, conn: TConn) -> None:
        del self._conns[conn]

    def popleft(self) -> TConn:
        return self._conns.popitem(last=False)[0]

    def __getitem__(self, index: int) -> TConn:
        if index != 0 or not self._conns:
            raise IndexError(index)  # gunicorn asks for the first one only
        return next(iter(self._conns))

    def __iter__(self) -> Iterator[TConn]:
        return iter(self._conns)

    def __contains__(self, conn: object) -> bool:
        return conn in self._conns

    def __len__(self) -> int:
        return len(self._conns)


class MethodQueue(gthread.PollableMethodQueue):
    """Calls for the main thread, and the pipe that wakes it."""

    def close(self) -> None:
        """Stay open, until the process ends.

        Pool threads may still write to it, and its number would be another descriptor's.
        """


class TConn(gthread.TConn):
    """A connection as gunicorn's ``gthread`` keeps it, with a close that cannot fail."""

    sock: Any
    parser: Any
    on_close: Callable[[TConn], None]
    """What closes it: set when it is accepted."""
    timeout: float

    responded = False
    """Whether a request has been answered since it last came out of the poller."""

    left = False
    """Whether its view has left it to a thread of its own, and had gunicorn forget the response."""

    wait: tuple[Queue, Callable[[TConn, socket.socket], object]]
    """Where it waits for a request, and what is called when it is readable."""

    def init(self) -> None:
        """Set up TLS and the parser; the preface of HTTP/2 in the clear is not a request.

        gunicorn reads it here, if the peer may speak HTTP/2 by prior knowledge (26.2 and newer).
        """
        duties = self.sock.duties
        if self.initialized or duties is None or not self._may_be_preface():
            super().init()
            return
        duties.head_due = False
        duties.start_clock()
        super().init()
        if not self.is_http2 and duties.connection is not None:
            duties.request_begun()

    def _may_be_preface(self) -> bool:
        negotiation = getattr(gthread, "negotiation", None)
        if negotiation is None or self.cfg.is_ssl:
            return False
        return bool(negotiation.prior_knowledge_allowed(self.cfg, self.client))

    def close(self, graceful: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Close it, called by gunicorn's main thread; hooks run elsewhere.

        gunicorn counts a connection down before it closes it, and once more if that fails.
        """
        self.on_close(self)


def drained(conn: TConn) -> bool:
    """Throw away what the peer has sent since we closed; tell whether it has had its time."""
    total = 0
    while total < LINGER_BYTES:
        try:
            # Asked first: a recv() waits, whatever its flags say, where somebody has set a timeout.
            if not ready(conn.sock, READ, 0):
                return False
            # The base class's: under TLS these are no records any more, and no request either way.
            data = socket.socket.recv(conn.sock, 8192, DONT_WAIT)
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True
        if not data:
            return True
        total += len(data)
    return True


def close_may_wait(sock: socket.socket) -> bool:
    """Tell whether closing `sock` may wait for its peer: somebody has set ``SO_LINGER``."""
    try:
        linger = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.size)
    except OSError:  # it is closed
        return False
    on, seconds = _LINGER.unpack(linger)
    return bool(on and seconds)


def close(sock: socket.socket) -> None:
    """Close `sock`, which may be closed already."""
    # A descriptor is released even where close() complains (close(2)).
    with contextlib.suppress(OSError):
        sock.close()
