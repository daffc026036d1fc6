"""`Channel`: waitress's side of one connection, which the tracker hears of.

The main loop asks each channel, in every turn, whether it wants to read or write. Whatever else has
to be done in the main loop is done when it asks.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import HeaderTimeoutError
from .._sockets.plain import DONT_WAIT
from .._sockets.proxy_protocol import ProxyHeaderError
from .._tracking.tracker import process_tracker
from ..errors import ConnectionClosedError
from .closing import close_failed, hand_close_on
from .parser import UnparsedBytes, answer_to
from .task import ErrorTask, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.connection import Connection

__all__ = ["Channel"]

_EMPTY_LINES = b"\r\n"

_BEFORE_REQUEST = (ConnState.NEW, ConnState.ACTIVE)
"""The states whose hooks run before a request is parsed."""


class Channel(HTTPChannel):
    """A connection: reads requests one at a time, and lets go of its socket.

    Attributes:
        tracked: the socket, as long as it is the server's.
        has_last_answer: whether there will be no other; it may be on its way.
    """

    task_class = Task
    error_task_class = ErrorTask

    tracked: Any
    socket: Any
    request: Any
    requests: list[Any]

    def __init__(self, server: Any, sock: Any, addr: Any, adj: Any, map: Any = None) -> None:  # noqa: A002  waitress's
        self.tracked = sock
        self._elsewhere = False
        """Whether another thread does what the main loop would."""
        self._closes_when_flushed = False
        self.has_last_answer = False
        super().__init__(server, sock, addr, adj, map=map)
        # Re-entrant: what is left of a request's bytes is parsed under it.
        self.requests_lock: Any = threading.RLock()
        connection = self.connection
        if connection is not None and life_of(connection).due_hooks:
            process_tracker.hook_runner.submit(partial(process_tracker.run_hooks, connection))

    @property
    def connection(self) -> Connection | None:
        """The connection, as long as it is the server's."""
        tracked = self.tracked  # another thread may let go of it at any time
        connection: Connection | None = tracked and tracked.connection
        return connection

    @property
    def close_when_flushed(self) -> bool:
        """Whether the main loop is to close when all has been sent; it takes that back then."""
        return self._closes_when_flushed

    @close_when_flushed.setter
    def close_when_flushed(self, closes: bool) -> None:
        self._closes_when_flushed = closes
        self.has_last_answer = self.has_last_answer or closes

    def parser_class(self, adj: Any) -> HTTPRequestParser:
        """Return what the next bytes are read into."""
        return UnparsedBytes(adj) if self.requests else HTTPRequestParser(adj)

    # In the main loop

    def readable(self) -> bool:
        """Tell the main loop whether to read; do what is to be done there."""
        tracked = self.tracked
        if tracked is None:
            self.del_channel()  # hijacked
        elif self._elsewhere:
            pass
        elif tracked.closes_at_once:
            self.handle_close()  # aborted, and no selector need say so
        elif _is_head_late(tracked):
            self._refuse(*answer_to(HeaderTimeoutError()))
        elif self.will_close and not self.requests:
            self.handle_write()  # the client may read nothing, and no selector say that it can
        else:
            if isinstance(self.request, UnparsedBytes) and self._may_read():
                self._do(self._resume)
            return self._may_read()
        return False

    def _may_read(self) -> bool:
        # What a client sends during a request is read when it is due, or not at all.
        return not self._elsewhere and not self.requests and super().readable()

    def writable(self) -> bool:
        """Tell the main loop whether to write."""
        return self.tracked is not None and not self._elsewhere and super().writable()

    def handle_read(self) -> None:
        """Read what has come."""
        self._do(self._read)

    def send(self, data: bytes, do_close: bool = True) -> int:  # noqa: FBT001, FBT002  waitress's
        """Send what there is room for; note what an error says of the peer."""
        try:
            count: int = self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            connection = self.connection
            if connection is not None:
                ending.broke_off(life_of(connection), exc)
            count = super().send(data, do_close)  # it fails again, and waitress knows what to do
        return count

    def _do(self, step: Callable[[], object]) -> None:
        """Do what may begin a request: in another thread, if hooks are to hear of that."""
        tracked = self.tracked
        if tracked is None:
            return
        begins = tracked.duties is not None and tracked.duties.head_due
        if begins and any(map(process_tracker.has_hooks, _BEFORE_REQUEST)):
            self._elsewhere = True
            self.last_activity = time.time()  # something has come, though hooks take their time
            process_tracker.hook_runner.submit(partial(self._do_elsewhere, step))
            return
        step()

    def _do_elsewhere(self, step: Callable[[], object]) -> None:
        try:
            connection = self.connection
            if connection is not None:
                process_tracker.run_hooks(connection)  # one that is due may abort it
            step()
        except Exception:
            self.logger.exception("Reading from %r failed", self)
            close_failed(self)
        finally:
            self._elsewhere = False
            self.server.pull_trigger()

    # In whichever thread

    def _read(self) -> None:
        sock = self.tracked
        if sock is None:
            return
        try:
            data = sock.recv(self.adj.recv_bytes, DONT_WAIT)
        except BlockingIOError:
            return
        except (HeaderTimeoutError, ProxyHeaderError) as exc:
            self._refuse(*answer_to(exc))
            return
        except OSError:
            data = b""
        if data:
            self.last_activity = time.time()
            self.received(data)
        elif self._elsewhere:
            self.will_close = True  # the main loop closes
        else:
            self.handle_close()

    def _resume(self) -> None:
        """Parse what has been read behind the last request."""
        with self.requests_lock:
            rest, self.request = self.request, None
            data = rest.data.lstrip(_EMPTY_LINES) if isinstance(rest, UnparsedBytes) else b""
            tracked = self.tracked
            if not data or tracked is None:
                return
            try:
                tracked.begin_request()
                self.received(data)
            except OSError:  # it has been aborted
                self.will_close = True
            except Exception:
                # Nothing else would: the main loop only asks whether to read.
                self.logger.exception("Parsing what %r has read failed", self)
                close_failed(self)

    def received(self, data: bytes) -> bool:
        """Parse `data`, to the end of one request at most."""
        with self.requests_lock:  # a request that begins here is not served before this is done
            going_on: bool = super().received(data)
            head_is_there = self.requests or (self.request and self.request.headers_finished)
            tracked = self.tracked
            duties = tracked.duties if tracked is not None else None
            if head_is_there and duties is not None and duties.in_head:
                duties.head_complete()
                duties.lift_rates()  # the main loop waits for nobody
        return going_on

    def _refuse(self, error: Any, reason: CloseReason) -> None:
        """Answer what is no request, by a task of waitress's own."""
        tracked = self.tracked
        if tracked is None or tracked.duties is None:
            return
        ending.note(tracked.duties.life, reason)
        tracked.duties.head_given_up()
        refused = HTTPRequestParser(self.adj)
        refused.version = "1.1"
        refused.error = error
        with self.requests_lock:
            self.request = None
            self.requests.append(refused)
            self.server.add_task(self)

    # In the thread of a request

    def service(self) -> None:
        """Serve a request."""
        with self.requests_lock:
            pass  # whatever has read it is done with it
        try:
            super().service()
        except BaseException:  # a SystemExit of the view's, which the pool logs
            self.will_close = True
            self.server.pull_trigger()
            with self.requests_lock:
                self.requests = []
            raise

    def check_client_disconnected(self) -> bool:
        """Tell whether the client is gone; waitress's own cannot, as it does not look ahead."""
        connection = self.connection
        try:
            return connection is None or connection.is_disconnected()
        except ConnectionClosedError:
            return True

    def await_request(self) -> None:
        """The response is complete, and the connection is kept."""
        tracked = self.tracked
        if tracked is not None:
            self.last_activity = time.time()  # before the main loop counts it among the idle
            tracked.lift_deadlines()
            tracked.await_request()

    def let_go(self) -> bytes:
        """Let go of the socket, whose descriptor moves next; return what was read ahead.

        The main loop does not look at it while a request is in hand; it forgets the channel when it
        comes to it.
        """
        with self.requests_lock:
            rest, self.request = self.request, None
            sock, self.tracked = self.tracked, None
        sock.settimeout(None)  # its owner's reads wait
        self.server.pull_trigger()
        return rest.data if isinstance(rest, UnparsedBytes) else b""

    # Its end

    def handle_close(self) -> None:
        """Close, as the main loop wants it; not before another thread has read what has come."""
        if self._elsewhere:
            self.will_close = True
            return
        hand_close_on(self)
        super().handle_close()

    def close(self) -> None:
        """Close, with the server."""
        hand_close_on(self, at_stop=True)
        super().close()


def _is_head_late(tracked: Any) -> bool:
    duties = tracked.duties
    is_due = duties is not None and duties.in_head and duties.read is not None
    return is_due and time.monotonic() > duties.read
