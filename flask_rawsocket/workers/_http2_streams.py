"""An HTTP/2 connection's states, and the serving of one of its streams, on every worker."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gunicorn.http2.connection import HTTP2ServerConnection
from gunicorn.http2.errors import HTTP2ProtocolError

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import wait_again
from ..errors import ConnectionClosedError
from ._http2_exchange import HTTP2Exchange
from ._proxy import note_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._connection.connection import Connection
    from .._connection.life import Life
    from .._tracking.tracker import ConnectionTracker
    from ._common import TrackingWorker

__all__ = ["SEAMS", "Receiving", "follow", "served", "serving"]

SEAMS: Final = (
    (HTTP2ServerConnection, "close"),
    (HTTP2ServerConnection, "receive_data"),
)


class Receiving:
    """Stands where a connection of gunicorn's receives, and sees what that says of its state.

    Args:
        tracker: who is told.
        connection: ours.
        h2: gunicorn's.
    """

    def __init__(self, tracker: ConnectionTracker, connection: Connection, h2: Any) -> None:
        self._tracker = tracker
        self._connection = connection
        self._life: Life = life_of(connection)
        self._h2 = h2
        self._receive = h2.receive_data
        self._parse = h2.h2_conn.receive_data
        self.last = 0
        """The number of the last stream that is served, or was."""

    def __call__(self, *args: Any) -> Any:
        h2 = self._h2
        if self._is_over() and not args:
            h2.close(last_stream_id=self.last)
            ending.answered(self._life)
            return []
        # A view that asks for its client may have aborted its own stream before.
        if not h2.streams and self._life.exchange is None:
            self._tracker.responded(self._connection)
        try:
            requests = self._receive(*args)
        except HTTP2ProtocolError:
            ending.note(self._life, CloseReason.HTTP2_ERROR)
            raise
        if requests or h2.streams:
            self._tracker.received(self._connection)
        return requests

    def parse(self, data: bytes) -> Any:
        """Parse frames, as the library below gunicorn does; see if the peer says GOAWAY in one.

        By that it wants the connection ended (RFC 9113, section 6.8).
        """
        events = self._parse(data)
        if any(type(each).__name__ == "ConnectionTerminated" for each in events):
            ending.note(self._life, CloseReason.PEER_CLOSED)
        return events

    def _is_over(self) -> bool:
        """Tell whether the application wants the connection closed, and all streams are served."""
        is_wanted = self._life.force_close and self.last
        return bool(is_wanted and not getattr(self._h2, "pending_requests", ()))


def follow(tracker: ConnectionTracker, sock: Any, h2: Any) -> None:
    """Have the connection be ACTIVE while a stream is open, and IDLE while none is.

    Args:
        tracker: who is told.
        sock: the tracked socket, on which HTTP/2 is spoken from here on.
        h2: gunicorn's connection.
    """
    if isinstance(h2.receive_data, Receiving):
        return
    sock.head_complete()
    duties = sock.duties
    duties.head_due = False  # a frame is not a request
    duties.lift_rates()  # a peer may pause each of its streams
    duties.proxy_parser = None
    h2.receive_data = receiving = Receiving(tracker, sock.connection, h2)
    h2.h2_conn.receive_data = receiving.parse


@contextlib.contextmanager
def serving(worker: TrackingWorker, sock: Any, req: Any, h2: Any) -> Iterator[None]:
    """Inside, a stream is served; its deadlines, its watches and its rights end with it.

    Args:
        worker: who serves.
        sock: the tracked socket of its connection.
        req: gunicorn's request.
        h2: gunicorn's connection.

    Raises:
        RuntimeError: the view has raised SystemExit or its like, which ends no worker here.
    """
    connection = sock.connection
    if connection is None:
        yield
        return
    tracker, life = worker.tracker, life_of(connection)
    follow(tracker, sock, h2)  # the request may have asked for HTTP/2, and been of HTTP/1
    h2.receive_data.last = max(h2.receive_data.last, req.stream.stream_id)
    exchange = HTTP2Exchange(h2, req.stream, partial(tracker.peer_has_left, connection))
    life.exchange = exchange
    if worker.is_proxied:
        note_proxy(connection, req)
    try:
        yield
    except Exception:
        raise
    except BaseException as exc:
        raise worker.view_exited(connection, exc) from exc
    finally:
        tracker.request_ended(connection, peer_is_gone=exchange.has_left)
        if life.ending is CloseReason.READ_DEADLINE and not h2.is_closed:
            ending.reset(life)  # it was the stream's
        sock.lift_deadlines()
        wait_again(sock)


def served(worker: TrackingWorker, sock: Any) -> bool:
    """Note why the connection ends, if nothing has; tell whether its peer is still there.

    Args:
        worker: whose it is.
        sock: the tracked socket, on which gunicorn serves no stream any more.
    """
    connection = sock.connection
    try:
        if connection is None or connection.is_disconnected():
            return False
    except ConnectionClosedError:  # by another thread
        return False
    life = life_of(connection)
    if not worker.alive:
        ending.assume(life, worker.stop.reason)
    elif life.state in (ConnState.NEW, ConnState.IDLE):
        ending.none_came(life)
    return True
