"""`TConn`: a connection as the thread worker keeps it, and the queues in which it waits."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from gunicorn import http
from gunicorn import sock as gunicorn_sock
from gunicorn.workers import gthread

from .._sockets.proxied import take_proxy_header
from ._readiness import READING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._incoming import Incoming

__all__ = ["MethodQueue", "Queue", "TConn", "close", "close_may_wait"]

_LINGER: Final = struct.Struct("ii")
"""``struct linger`` (socket(7))."""


class Queue:
    """Where connections wait, in the order of their timeouts, and what ends their waiting.

    A connection that waits is in the poller too. Whoever takes it out of its queue has it, and
    nobody else: the thread that finds it ready, or the main thread when its time is over.

    gunicorn has deques, and searches one to take a connection out. What its code still does with
    them is here too: it asks for the first one and for the length, and goes through all.

    Args:
        on_ready: called by a thread of the pool with a connection that is ready.
        on_timeout: called by the main thread with one that has waited too long.
        what: what it waits for: to read, or to write.
        is_for_requests: whether nothing has come yet of what it waits for, so that a worker which
            stops need not wait for long.
    """

    def __init__(
        self,
        on_ready: Callable[[TConn], object],
        on_timeout: Callable[[TConn], object],
        what: str = READING,
        *,
        is_for_requests: bool = False,
    ) -> None:
        self.on_ready = on_ready
        self.on_timeout = on_timeout
        self.what = what
        self.is_for_requests = is_for_requests
        self._conns: OrderedDict[TConn, None] = OrderedDict()
        # What follows is one step for all threads; OrderedDict's own methods are.
        self.append: Callable[[TConn], None] = self._conns.setdefault

    def claim(self, conn: TConn) -> bool:
        """Take `conn` out, and tell whether it was there."""
        return self._conns.pop(conn, False) is None

    def first(self) -> TConn | None:
        """Return the one whose time is over first; None where nobody waits."""
        while self._conns:
            with contextlib.suppress(RuntimeError, StopIteration):  # changed meanwhile
                return next(iter(self._conns))
        return None

    def expired(self, now: float) -> Iterator[TConn]:
        """Take out those whose time is over at `now`, a time of the monotonic clock."""
        while (conn := self.first()) is not None and conn.timeout <= now:
            if self.claim(conn):
                yield conn

    def __getitem__(self, index: int) -> TConn:
        conn = self.first()
        if index != 0 or conn is None:
            raise IndexError(index)  # gunicorn asks for the first one only
        return conn

    def __iter__(self) -> Iterator[TConn]:
        return iter(list(self._conns))

    def __len__(self) -> int:
        return len(self._conns)


class MethodQueue(gthread.PollableMethodQueue):
    """Calls for the main thread, and the pipe that wakes it."""

    def close(self) -> None:
        """Stay open, until the process ends.

        Pool threads may still write to it, and its number would be another descriptor's.
        """


class TConn(gthread.TConn):
    """A connection as gunicorn's ``gthread`` keeps it."""

    sock: Any
    parser: Any
    timeout: float

    fd: int
    """The number that the poller knows it by."""

    queue: Queue
    """Where it waits, or has waited last."""

    incoming: Incoming | None = None
    """The request of which a part has come."""

    body_began = 0.0
    """When the first of its body could have come, by the monotonic clock."""

    is_wrapped = False
    """Whether it speaks TLS by now."""

    outgoing: Any = None
    """What is left of its response, an `Outgoing`; None if nothing is."""

    keeps = False
    """Whether it is kept when that has been sent."""

    is_counted = False
    """Whether it is one of the worker's `nr_conns`."""

    responded = False
    """Whether a request has been answered since it last came out of the poller."""

    left = False
    """Whether its view has left it to a thread of its own, and had gunicorn forget the response."""

    def wrap(self) -> None:
        """Begin TLS, behind a PROXY protocol header where one may come; nothing else is read yet.

        Raises:
            BlockingIOError: such a header has not come, or nothing behind it.
            ProxyHeaderError: it is malformed, or the peer may not send any.
            OSError: the socket is closed, or not connected.
            TLSSetupError: there is no TLS context.
        """
        take_proxy_header(self.sock, wait=False)
        self.sock.settimeout(None)
        self.sock = gunicorn_sock.ssl_wrap_socket(self.sock, self.cfg)
        self.is_wrapped = True
        self.sock.settimeout(0)

    def init(self) -> None:
        """Set up the parser; the handshake is done, where there is one.

        gunicorn reads the preface of HTTP/2 in the clear here, if the peer may speak that by prior
        knowledge (26.2 and newer); the preface is not a request.
        """
        duties = self.sock.duties
        if self.initialized:
            return
        if self.is_wrapped:
            self._init_over_tls()
        elif duties is not None and self._may_be_preface():
            if duties.proxy_parser is not None:
                duties.proxy_parser.before_preface = True
            else:
                duties.head_due = False
            duties.start_clock()
            super().init()
            if not self.is_http2 and duties.connection is not None:
                duties.request_begun()
        else:
            super().init()

    def _init_over_tls(self) -> None:
        self.is_http2 = gunicorn_sock.is_http2_negotiated(self.sock)
        get_parser: Any = http.get_parser
        self.parser = get_parser(self.cfg, self.sock, self.client, http2_connection=self.is_http2)
        super().init()
        if self.is_http2:
            self.parser.initiate_connection()

    def _may_be_preface(self) -> bool:
        negotiation = getattr(gthread, "negotiation", None)
        if negotiation is None:
            return False
        return bool(negotiation.prior_knowledge_allowed(self.cfg, self.client))


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
