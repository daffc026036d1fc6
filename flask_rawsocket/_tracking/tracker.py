"""`ConnectionTracker`: what a Connection asks of the process that keeps it.

`hijack` and `abort` are each one step under the lock: of two threads one wins, and the other is
told so.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

from .. import sockinfo
from .._asyncio.seams import check_seams
from .._connection import ending, observing
from .._connection.asking import check_asker, view_name
from .._connection.connection import life_of
from .._connection.hijacked import HijackedSocket
from .._connection.state import TRANSITIONS, CloseReason, ConnState, illegal_transition
from ..errors import (
    AlreadyHijackedError,
    ConnectionClosedError,
    InvalidStateError,
    RawSocketError,
    UnsupportedError,
)
from . import forgotten
from .states import States

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from .._asyncio.event_loop import EventLoop
    from .._connection.connection import Connection
    from .._connection.exchange import Exchange, StreamHandler
    from .._connection.life import Life
    from .forgotten import Endable

__all__ = ["ConnectionTracker", "process_tracker"]


class ConnectionTracker(States):
    """The connections of one process, and what can be done with one of them."""

    make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    """Makes the event loop, where the process has greenlets and no threads."""

    def _start(self) -> None:
        super()._start()
        self._event_loop: EventLoop | None = None

    def hijack(self, connection: Connection) -> HijackedSocket:
        """Have the server let go of `connection`; return what its new owner holds.

        Raises:
            RawSocketError: as `Connection.hijack` says.
        """
        life = life_of(connection)
        check_asker(connection, life)
        forgotten.start()
        view = view_name()
        with self._lock:
            exchange = _exchange_of(connection)
            leading_bytes = exchange.hand_over()
            stream = HijackedSocket(_give_away(connection), leading_bytes)
            exchange.stream, exchange.view = weakref.ref(stream), view
            ending.reset(life)
            due = self._change(connection, life, ConnState.HIJACKED)
            self._hijacked.add(connection)
            life.hold_weakly()
        if observing.current is not None:
            observing.current.changed(connection, ConnState.ACTIVE, ConnState.HIJACKED)
        if due:
            self.run_hooks(connection)
        return stream

    def prepare_serving(self) -> None:
        """Have the event loop ready, before a connection is hijacked for it.

        Raises:
            RawSocketError: as `loop` says.
        """
        self.loop()

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop, which runs in a thread of its own.

        Raises:
            UnsupportedError: this Python's asyncio lacks what we rely on; the text says what.
            RawSocketError: the loop cannot be started; ``__cause__`` says why.
        """
        check_seams()
        # Here: asyncio takes a while to import, and most processes never need it.
        from .._asyncio.event_loop import EventLoop  # noqa: PLC0415

        with self._lock:
            if self._event_loop is None:
                self._event_loop = EventLoop(self.hook_runner, self.make_loop)
            loop = self._event_loop
        return loop.start()

    def serve(self, connection: Connection, stream: HijackedSocket, handler: StreamHandler) -> None:
        """Have `handler` serve `stream`, the one of `connection`, on the event loop."""
        exchange = life_of(connection).exchange
        if exchange is not None:
            exchange.stream = None  # the loop keeps the socket, and not the stream
        loop: Any = self._event_loop  # which `prepare_serving` has made
        loop.serve(connection, stream, handler)

    def abort(self, connection: Connection) -> None:
        """Reset `connection`: at once in its request, else when its server next touches it.

        Raises:
            ConnectionClosedError: it has been closed.
        """
        life = life_of(connection)
        check_asker(connection, life)
        if life.exchange is not None and life.exchange.abort():
            return
        with self._lock:
            sock: Any = connection.sock
            if life.is_closed():
                raise ConnectionClosedError(f"{connection!r} has been closed")
            sockinfo.abort(sock)
            if life.is_hijacked():
                if self._event_loop is not None and self._event_loop.abort(connection):
                    return
                sock.duties.ended = True  # before its owner's thread finds nothing more to read
                ends_here = True
            else:
                ends_here = life.exchange is not None and _has_let_go(life.exchange)
                if ends_here:
                    sock = _give_away(connection)
            sock.abort()
        if ends_here:
            sock.end()

    def set_deadlines(self, connection: Connection, deadlines: Mapping[str, float | None]) -> None:
        """Set the deadlines of the request in hand; ``read`` and ``write``, None lifts one.

        Raises:
            ConnectionClosedError: it has been closed.
            InvalidStateError: no request is in hand, or it is not the one that asks.
            UnsupportedError: the event loop has the connection.
        """
        life = life_of(connection)
        check_asker(connection, life)
        with self._lock:
            sock: Any = connection.sock
            if life.exchange is None and not life.is_hijacked():
                raise InvalidStateError(f"{connection!r} has no request to set deadlines of")
            if sock.gettimeout() == 0:
                raise UnsupportedError("set_deadlines is not supported on a non-blocking socket")
            if "read" in deadlines:
                sock.duties.read = deadlines["read"]
            if "write" in deadlines:
                sock.duties.set_write(deadlines["write"])

    def set_min_rates(self, connection: Connection, rates: Mapping[str, float | None]) -> None:
        """Set the minimum data rates of the request in hand: ``read``, ``write`` and ``grace``.

        Raises:
            ConnectionClosedError: it has been closed.
            InvalidStateError: it has been hijacked; no request is in hand, or another one.
            UnsupportedError: a rate is set on HTTP/2.
        """
        life = life_of(connection)
        check_asker(connection, life)
        with self._lock:
            sock: Any = connection.sock
            if life.exchange is None or life.is_hijacked():
                raise InvalidStateError(f"{connection!r} has no request to set rates of")
            sock.duties.set_min_rates(rates)

    def force_close(self, connection: Connection) -> None:
        """Have `connection` closed after the response in hand, or after its next one."""
        life = life_of(connection)
        check_asker(connection, life)
        life.force_close = True
        exchange = life.exchange
        if exchange is not None:
            exchange.force_close()

    def peer_has_left(self, connection: Connection) -> None:
        """The peer has ended the request in hand, and not the connection: tell who waits."""
        self._watcher.peer_has_left(connection)

    def peer_was_seen_gone(self, connection: Connection) -> None:
        """The application has been told so, before the kernel's report has come."""
        self._watcher.peer_was_seen_gone(connection)

    def watch(
        self, connection: Connection, callback: Callable[[], object], *, at_end_too: bool = False
    ) -> Callable[[], None]:
        """Call `callback` once `connection`'s peer is gone; return what takes that back.

        Args:
            connection: whose peer.
            callback: called from a thread of its own.
            at_end_too: call it also when the watch ends for another reason, and without a thread of
                its own; it must return at once.

        Raises:
            ConnectionClosedError: it has been closed.
            RawSocketError: as `Watcher.watch` says.
        """
        life = life_of(connection)
        if not at_end_too:
            check_asker(connection, life)
        if life.is_closed():
            raise ConnectionClosedError(f"{connection!r} has been closed")
        cancel = self._watcher.watch(connection, callback, at_end_too=at_end_too)
        # Set after the entry exists, cleared before it is removed: closed() never misses one.
        life.watched = True
        if life.is_closed():  # meanwhile, by another thread
            self._unwatch(connection)
            raise ConnectionClosedError(f"{connection!r} has been closed")
        exchange = life.exchange
        if exchange is not None and exchange.has_left:  # of which the kernel will not tell
            self.peer_has_left(connection)
        return cancel

    def end_forgotten(self, sock: Endable, life: Life) -> None:
        """Have `sock` ended, whose owner has forgotten it: called by its finalizer."""
        ending.assume(life, CloseReason.APP_FORGOT)
        forgotten.put(sock)

    def stop_handlers(self, timeout: float) -> bool:
        """Cancel the handlers of `hijack_async`; tell whether all have ended in `timeout`."""
        return self._event_loop is None or self._event_loop.stop(timeout)


def _exchange_of(connection: Connection) -> Exchange:
    """Return the request in hand, whose connection is to be hijacked."""
    life = life_of(connection)
    if life.is_hijacked():
        raise AlreadyHijackedError(f"{connection!r} has been hijacked already")
    if life.is_closed() or (life.exchange is not None and life.exchange.hijacked):  # by abort()
        raise ConnectionClosedError(f"{connection!r} has been closed")
    if life.exchange is None:
        raise InvalidStateError(f"{connection!r} has no request in hand: hijack it in its view")
    if ConnState.HIJACKED not in TRANSITIONS[life.state]:
        raise illegal_transition(connection, life.state, ConnState.HIJACKED)
    return life.exchange


def _has_let_go(exchange: Exchange) -> bool:
    """Have the server let go of the request in hand, if it can; tell whether it has."""
    try:
        exchange.hand_over()
    except RawSocketError:
        return False
    return True


def _give_away(connection: Connection) -> Any:
    """Move the descriptor to its new owner's socket, and return that."""
    sock: Any = connection.sock
    try:
        return sock.give_away()
    except OSError as exc:  # another thread is closing it
        raise ConnectionClosedError(f"{connection!r} has been closed") from exc


process_tracker = ConnectionTracker()
"""The tracker of this process, which every server and every application in it shares."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process_tracker.after_fork)
