"""`ConnectionTracker`: the one that says what a connection is doing.

Three rules.  Only this file writes a connection's state, its reason and the map.  The map is
changed before the hooks run, so what a hook sees agrees with what it is told.  No hook and no
system call runs under the lock.

A server reports events (`opened`, `received`, `responded`, `closed`), not states: an event that
comes too late, such as a byte read on a connection that another thread has closed, is dropped here.
Hook calls that an event makes due are queued with the connection, and made in order by whichever
thread calls `run_hooks`, one at a time.  `opened` never makes them: it runs on the accept path.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import sockinfo
from .._connection.address import AF_UNIX, RemoteAddr
from .._connection.connection import Connection
from .._connection.hijacked import HijackedSocket
from .._connection.state import TRANSITIONS, CloseReason, ConnState, illegal_transition
from ..errors import AlreadyHijackedError, ConnectionClosedError, InvalidStateError
from .hooks import call
from .map import ConnectionMap
from .watcher import Watcher

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .._asyncio.event_loop import EventLoop
    from .._connection.address import SocketAddress
    from .._connection.exchange import Exchange, StreamHandler
    from .._connection.liveness import Told
    from .hooks import Hooks

__all__ = ["ConnectionTracker", "Settings", "guess_reason", "process_tracker"]

_BEFORE_REQUEST = (ConnState.NEW, ConnState.IDLE)


@dataclass(slots=True)
class Settings:
    """What an application configures of the server that it runs in, for the whole process."""

    header_timeout: float | None = 10.0
    """Seconds from a request's first byte to the end of its head; None for no limit."""

    unix_remote_addr: bool = True
    """Whether the override of a UNIX peer is its REMOTE_ADDR too."""

    save_syn: bool = False
    """Whether the listeners keep the SYN of each connection."""


class ConnectionTracker:
    """The connections of one process: their states, the map of the live ones, and the hooks.

    Attributes:
        connections: the live connections, a read-only mapping.
        settings: what the application configured.
    """

    def __init__(self) -> None:
        self.connections = ConnectionMap()
        self.settings = Settings()
        self._hooks: tuple[weakref.ref[Hooks], ...] = ()
        """Weak, so that an application that is gone takes its hooks with it."""
        self._lock = threading.RLock()
        """Guards the map, every connection's state and its queue of hook calls.

        Re-entrant: what allocates may collect garbage, and a finalizer may close a connection.
        """
        self._taken: set[Connection] = set()
        """Those taken over whose end has not been seen by every hook."""
        self._closing = 0
        """How many are CLOSED whose hooks have not all run yet."""
        self._one_less = threading.Condition(self._lock)
        """Told when there is one less of either."""
        self._pid = os.getpid()
        self._watcher = Watcher()
        self._event_loop: EventLoop | None = None

    def add_hooks(self, hooks: Hooks) -> None:
        """Let `hooks` hear of every connection of this process for as long as they exist."""
        with self._lock:
            alive = [each for each in self._hooks if each() is not None]
            if all(each() is not hooks for each in alive):
                alive.append(weakref.ref(hooks))
            self._hooks = tuple(alive)

    def opened(
        self,
        sock: socket.socket,
        family: socket.AddressFamily,
        remote_address: SocketAddress,
        local_address: SocketAddress,
    ) -> Connection:
        """Enter a connection that was just accepted.

        Its NEW hooks are left waiting for `run_hooks`.

        Args:
            sock: the connected socket.
            family: its address family.
            remote_address: the peer's address, as ``accept()`` returned it.
            local_address: our end's.
        """
        connection = Connection(
            sock,
            self,
            family=family,
            remote_address=remote_address,
            local_address=local_address,
        )
        if family == AF_UNIX:
            key = RemoteAddr.override(self._pid, connection.id)
        else:
            key = RemoteAddr.of_peer(remote_address)
        with self._lock:
            self.connections._add(connection, key)
            self._change(connection, ConnState.NEW)
        return connection

    def received(self, connection: Connection) -> None:
        """The first byte of a request has been read."""
        with self._lock:
            if connection._state not in _BEFORE_REQUEST:
                return
            due = self._change(connection, ConnState.ACTIVE)
        if due:
            self.run_hooks(connection)

    def request_ended(self, connection: Connection) -> None:
        """The response in hand has ended, or its connection has been taken over."""
        connection._exchange = None
        if connection._watched and connection._state is not ConnState.HIJACKED:
            self._unwatch(connection)

    def responded(self, connection: Connection) -> None:
        """A response has ended, and the connection is kept alive."""
        with self._lock:
            if connection._state is not ConnState.ACTIVE:
                return
            due = self._change(connection, ConnState.IDLE)
        connection._force_close = False
        if due:
            self.run_hooks(connection)

    def closed(self, connection: Connection, reason: CloseReason | None = None) -> None:
        """The descriptor is about to be closed; return when the hooks have seen it open.

        Args:
            connection: the one that ends.  Its second end is nobody's business.
            reason: why, where the caller knows better than what the server noted on the way.
        """
        if _is_closed(connection):
            return
        reason = reason or connection._ending or guess_reason(connection)
        with self._lock:
            if _is_closed(connection):
                return
            connection.close_reason = reason
            self.connections._remove(connection)
            due = self._change(connection, ConnState.CLOSED)
            self._closing += due
        try:
            if connection._watched:
                self._unwatch(connection)
            if due:
                self.run_hooks(connection)
        finally:
            if due or connection in self._taken:
                self._forget(connection, due=due)

    def _forget(self, connection: Connection, *, due: bool) -> None:
        with self._lock:
            self._taken.discard(connection)
            self._closing -= due
            self._one_less.notify_all()

    def hijack(self, connection: Connection) -> HijackedSocket:
        """Have the server let go of `connection`, and give what its new owner holds.

        Raises:
            RawSocketError: as `Connection.hijack` says.
        """
        leading_bytes = self._take(connection).release()
        connection._ending = None
        with self._lock:
            due = self._change(connection, ConnState.HIJACKED)
            self._taken.add(connection)
        sock: Any = connection._sock
        stream = HijackedSocket(sock.give_away(), leading_bytes)
        connection._lend()
        if due:
            self.run_hooks(connection)
        return stream

    def serve(self, connection: Connection, stream: HijackedSocket, handler: StreamHandler) -> None:
        """Have `handler` serve `stream`, the one of `connection`, on the event loop."""
        # Here: asyncio takes a while to import, and most processes never need it.
        from .._asyncio.event_loop import EventLoop  # noqa: PLC0415

        with self._lock:
            loop = self._event_loop = self._event_loop or EventLoop()
        loop.serve(connection, stream, handler)

    def abort(self, connection: Connection) -> None:
        """Reset `connection`: at once in its request, else when its server next touches it."""
        sock: Any = connection.sock
        sockinfo.abort(sock)
        exchange = connection._exchange
        if connection._state is ConnState.HIJACKED:
            if self._event_loop is None or not self._event_loop.abort(connection):
                sock._ended = True  # before its owner's thread finds nothing more to read
                sock.abort()
                sock.end()
        elif exchange is not None and exchange.refusal() is None:
            self._take(connection).release()
            moved = sock.give_away()
            moved.abort()
            moved.end()
        else:
            sock.abort()

    @staticmethod
    def _take(connection: Connection) -> Exchange:
        """Give the request in hand, if its connection can be taken from the server."""
        exchange = connection._exchange
        if connection._state is ConnState.HIJACKED:
            raise AlreadyHijackedError(f"{connection!r} has been taken over already")
        if _is_closed(connection):
            raise ConnectionClosedError(f"{connection!r} has been closed")
        if exchange is None:
            raise InvalidStateError(f"{connection!r} has no request in hand: hijack it in its view")
        refusal = exchange.refusal()
        if refusal is not None:
            raise refusal
        return exchange

    def watch(self, connection: Connection, told: Told) -> Callable[[], None]:
        """Tell `told` once `connection`'s peer is gone; give what takes that back."""
        if _is_closed(connection):
            raise ConnectionClosedError(f"{connection!r} has been closed")
        cancel = self._watcher.watch(connection, told)
        # We say so after there is an entry, `_unwatch` unsays it before it takes the entry out: so
        # none is left of which a close does not hear.
        connection._watched = True
        if _is_closed(connection):  # meanwhile, by another thread
            self._unwatch(connection)
            raise ConnectionClosedError(f"{connection!r} has been closed")
        return cancel

    def _unwatch(self, connection: Connection) -> None:
        connection._watched = False
        self._watcher.unwatch(connection)

    def has_hooks(self, state: ConnState) -> bool:
        """Tell whether anything is hooked on a change into `state`."""
        return any((hooks := ref()) is not None and hooks.into(state) for ref in self._hooks)

    def run_hooks(self, connection: Connection) -> None:
        """Make the hook calls that are due for `connection`; return when they have been made.

        Another thread that is at it is waited for.  A hook that causes a change of its own
        connection gets that change's calls made in order, behind those already due.
        """
        calls, lock = connection._calls, connection._dispatch_lock
        if calls is None or lock is None:
            return
        with lock:
            while calls:
                hook, old, new = calls.popleft()
                call(hook, connection, old, new)

    def shutdown(self) -> None:
        """The server begins to stop: call what `RawSocket.on_shutdown` was given."""
        for ref in self._hooks:
            hooks = ref()
            for function in hooks.shutdown if hooks is not None else ():
                call(function)

    def is_taken(self, connection: Connection) -> bool:
        """Tell whether `connection` was taken over in this process, and has not ended."""
        return connection in self._taken

    def wait_hijacked(self, timeout: float | None) -> bool:
        """Wait until whatever was taken over has ended, hooks included; tell whether it has.

        The process may end after this, so to be CLOSED is not enough.
        """
        with self._lock:
            return self._one_less.wait_for(lambda: not self._taken, timeout)

    def wait_closed(self, timeout: float) -> bool:
        """Wait until the hooks of all ends have run; tell whether they have."""
        with self._lock:
            return self._one_less.wait_for(lambda: not self._closing, timeout)

    def stop_handlers(self, timeout: float) -> bool:
        """Cancel the handlers of `hijack_async`; tell whether all have ended in `timeout`."""
        return self._event_loop is None or self._event_loop.stop(timeout)

    def force_close(self, connection: Connection) -> None:
        """Have `connection` closed after the response in hand, or after its next one."""
        connection._force_close = True
        if connection._exchange is not None:
            connection._exchange.force_close()

    def _change(self, connection: Connection, new: ConnState) -> bool:
        """Make a move, and queue the hook calls it makes due; tell whether there are any.

        The one place that writes a state.  The caller holds the lock.
        """
        old = connection._state
        if new not in TRANSITIONS[old]:
            raise illegal_transition(connection, old, new)
        connection._state = new
        return bool(self._hooks) and self._queue_calls(connection, old, new)

    def _queue_calls(self, connection: Connection, old: ConnState | None, new: ConnState) -> bool:
        due = False
        for ref in self._hooks:
            hooks = ref()
            for hook in hooks.into(new) if hooks is not None else ():
                self._queue_of(connection).append((hook, old, new))
                due = True
        return due

    @staticmethod
    def _queue_of(connection: Connection) -> deque:  # type: ignore[type-arg]
        if connection._calls is None:
            connection._calls = deque()
            # Re-entrant: a hook may close its own connection.
            connection._dispatch_lock = threading.RLock()
        return connection._calls

    def _after_fork(self) -> None:
        """Start anew in a child: its parent's connections are not its own."""
        self._lock = threading.RLock()
        self._taken.clear()
        self._closing = 0
        self._one_less = threading.Condition(self._lock)
        self._pid = os.getpid()
        self._watcher = Watcher()
        self._event_loop = None
        self.connections._clear()


def _is_closed(connection: Connection) -> bool:
    return connection._state is ConnState.CLOSED


def guess_reason(connection: Connection) -> CloseReason:
    """Ask the kernel whose doing the end of `connection` is, where the server did not note it."""
    sock = connection._sock
    ours = CloseReason.APP if connection._state is ConnState.HIJACKED else CloseReason.ERROR
    if sock is None or sock.fileno() < 0:
        return ours
    try:
        status = sockinfo.peer_status(sock)
    except ConnectionClosedError:  # by another thread, since we looked
        return ours
    return ours if status is sockinfo.PeerStatus.OPEN else CloseReason.CLIENT


process_tracker = ConnectionTracker()
"""The tracker of this process, which every server and every application in it shares."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process_tracker._after_fork)
