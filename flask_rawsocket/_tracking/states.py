"""`States`: the states of all connections of the process, moved by events.

Three rules. Only this file writes a connection's state and the map. The map is changed before the
hooks run, so what a hook sees agrees with what it is told. No hook runs under the lock, and no
system call that may wait.

A server reports events (`opened`, `received`, `responded`, `closed`), not states: an event that
comes too late, such as a byte read on a connection that another thread has closed, is dropped here.
Hook calls that an event makes due are queued with the connection, and made in order by whichever
thread calls `run_hooks`. `opened` never makes them: it runs on the accept path.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from typing import TYPE_CHECKING, Any

from .._connection import ending, observing
from .._connection.address import AF_UNIX, override_text, text_of
from .._connection.connection import life_of
from .._connection.native import RLock
from .._connection.state import TRANSITIONS, CloseReason, ConnState, illegal_transition
from .hooks import HookRegistry
from .map import ConnectionMap
from .runner import Runner
from .settings import Settings
from .unheard import unheard
from .watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._connection.connection import Connection
    from .._connection.life import Life
    from .hooks import Hooks

__all__ = ["States"]

_BEFORE_REQUEST = (ConnState.NEW, ConnState.IDLE)


class States:
    """The base of the tracker: the map, the states, and the hooks that hear of them.

    Attributes:
        connections: the live connections, a read-only mapping.
        settings: what the application configured.
        stop_reason: why connections end that the stop of the server ends.
        hook_runner: what runs the hooks of ends in other threads than the one that noticed.
        is_stopping: whether the server has begun to stop; another may begin in this process.
    """

    def __init__(self) -> None:
        self.connections = ConnectionMap()
        self.settings = Settings()
        self.stop_reason = CloseReason.STOPPED
        self._hooks = HookRegistry()
        self._at_shutdown: tuple[Callable[[], object], ...] = ()
        self._start()

    def _start(self) -> None:
        """Set up what a forked child has anew."""
        self._lock = RLock()
        """Guards the map, every connection's state and its queue of hook calls.

        Re-entrant: what allocates may collect garbage, and a finalizer may close a connection.
        """
        self._pid = os.getpid()
        self._hijacked: set[Connection] = set()
        """Those hijacked whose end has not been seen by every hook."""
        self.is_stopping = False
        self._closing = 0
        """How many are CLOSED whose hooks have not all run yet."""
        self._one_less = threading.Condition(self._lock)
        """Told when there is one less of either."""
        self.hook_runner = Runner("rawsocket-hooks")
        self._watcher = Watcher(Runner("rawsocket-disconnected"))

    def after_fork(self) -> None:
        """Start anew in a child: its parent's connections are not its own."""
        self._start()
        self.connections.clear()

    # Events, which servers and sockets report

    def opened(self, connection: Connection) -> None:
        """Enter a connection that was just accepted. Its NEW hooks wait for `run_hooks`."""
        if connection.family == AF_UNIX:
            key = override_text(self._pid, connection.id)
        else:
            key = text_of(connection.remote_address)
        with self._lock:
            self.connections.add(connection, key)
            self._change(connection, life_of(connection), ConnState.NEW)
        if observing.current is not None:
            observing.current.changed(connection, None, ConnState.NEW)

    def received(self, connection: Connection) -> None:
        """The first byte of a request has been read."""
        if unheard.may_lack_set_up:
            unheard.check_set_up()
        life = life_of(connection)
        with self._lock:
            old = life.state
            if old not in _BEFORE_REQUEST:
                return
            due = self._change(connection, life, ConnState.ACTIVE)
        if observing.current is not None:
            observing.current.changed(connection, old, ConnState.ACTIVE)
        if due:
            self.run_hooks(connection)

    def request_ended(self, connection: Connection, *, peer_is_gone: bool = False) -> None:
        """The response in hand has ended, or its connection has been hijacked.

        Args:
            connection: whose request it was.
            peer_is_gone: it is known to be: make the callbacks that wait for that.
        """
        life = life_of(connection)
        life.exchange = None
        if life.watched and not life.is_hijacked():
            self._unwatch(connection, peer_is_gone=peer_is_gone)

    def responded(self, connection: Connection) -> None:
        """A response has ended, and the connection is kept alive."""
        life = life_of(connection)
        with self._lock:
            if life.state is not ConnState.ACTIVE:
                return
            due = self._change(connection, life, ConnState.IDLE)
        if observing.current is not None:
            observing.current.changed(connection, ConnState.ACTIVE, ConnState.IDLE)
        life.force_close = False
        if due:
            self.run_hooks(connection)

    def closed(self, connection: Connection, reason: CloseReason | None = None) -> None:
        """The descriptor is about to be closed; return when the hooks have seen it open.

        Args:
            connection: the one that ends. A second call does nothing.
            reason: why, where the caller knows better than what was noted on the way.
        """
        life = life_of(connection)
        if life.is_closed():
            return
        reason = reason or ending.reason(life)
        with self._lock:
            if life.is_closed():
                return
            old = life.state
            life.close_reason = reason
            self.connections.remove(connection)
            due = self._change(connection, life, ConnState.CLOSED)
            self._closing += due
        if observing.current is not None:
            observing.current.changed(connection, old, ConnState.CLOSED)
        try:
            if life.watched:
                # A callback that is due is not dropped because our side was quicker to close.
                self._unwatch(connection, peer_is_gone=reason.group is CloseReason.CLIENT)
            if due:
                self.run_hooks(connection)
        finally:
            if due or connection in self._hijacked:
                self._forget(connection, due=due)

    def _forget(self, connection: Connection, *, due: bool) -> None:
        with self._lock:
            self._hijacked.discard(connection)
            self._closing -= due
            self._one_less.notify_all()

    def _unwatch(self, connection: Connection, *, peer_is_gone: bool = False) -> None:
        life_of(connection).watched = False
        self._watcher.unwatch(connection, peer_is_gone=peer_is_gone)

    # Hooks

    def has_hooks(self, state: ConnState) -> bool:
        """Tell whether anything is hooked on a change into `state`."""
        return self._hooks.any_into(state)

    def has_hooks_of_end(self, connection: Connection) -> bool:
        """Tell whether an end of `connection` has hooks to run, which may take their time."""
        return bool(life_of(connection).due_hooks) or self.has_hooks(ConnState.CLOSED)

    def run_hooks(self, connection: Connection) -> None:
        """Make the hook calls that are due for `connection`; return when they have been made."""
        self._hooks.run(connection)

    def unfinished_hooks(self) -> list[str]:
        """Name the hooks that have been called and have not returned, and on what."""
        return self._hooks.unfinished()

    def ask_of_exits(self, exit_is_signal: Callable[[], bool]) -> None:
        """Have `exit_is_signal` tell if a SystemExit in a hook on the main thread is a signal's.

        Where it is not, the hook has raised it: that is logged, and ends no server.
        """
        self._hooks.exit_is_signal = exit_is_signal

    def shutdown(self) -> None:
        """The server begins to stop: call what `RawSocket.on_shutdown` was given, and our own."""
        self.is_stopping = True
        self._hooks.run_shutdown()
        for function in self._at_shutdown:
            function()

    def at_shutdown(self, function: Callable[[], object]) -> None:
        """Call `function`, which is this package's own, after those of `RawSocket.on_shutdown`."""
        self._at_shutdown += (function,)

    def add_hooks(self, hooks: Hooks) -> None:
        """Let `hooks` hear of every connection of this process for as long as they exist."""
        with self._lock:
            self._hooks.add(hooks)

    def set_up(self, settings: Mapping[str, Any], hooks: Hooks) -> None:
        """Take over what an application has configured, by the names in `Settings`, and hooked."""
        if self.settings.unix_remote_addr is None:
            self.settings.unix_remote_addr = True
        for name, value in settings.items():
            setattr(self.settings, name, value)
        self.add_hooks(hooks)

    def save(self) -> Callable[[], None]:
        """Return what forgets all that is hooked and set from here on: for tests."""
        settings = dataclasses.replace(self.settings)
        hooked = self._hooks.save()
        told = unheard.save()

        def restore() -> None:
            with self._lock:
                hooked()
            told()
            for field in dataclasses.fields(settings):
                setattr(self.settings, field.name, getattr(settings, field.name))

        return restore

    def is_live(self, connection: Connection) -> bool:
        """Tell whether `connection` is a live one of this process, and not one of its parent's."""
        return self.connections.by_id(connection.id) is connection

    # Waiting for ends

    def is_hijacked(self, connection: Connection) -> bool:
        """Tell whether `connection` was hijacked in this process, and has not ended."""
        return connection in self._hijacked

    def wait_hijacked(self, timeout: float | None) -> bool:
        """Wait until whatever was hijacked has ended, hooks included; tell whether it has.

        The process may end after this, so to be CLOSED is not enough.
        """
        with self._lock:
            return self._one_less.wait_for(lambda: not self._hijacked, timeout)

    def wait_closed(self, timeout: float) -> bool:
        """Wait until the hooks of all ends have run; tell whether they have."""
        with self._lock:
            return self._one_less.wait_for(lambda: not self._closing, timeout)

    def _change(self, connection: Connection, life: Life, new: ConnState) -> bool:
        """Make a move, and queue the hook calls it makes due; tell whether there are any.

        The one place that writes a state. The caller holds the lock.
        """
        old = life.state
        if new not in TRANSITIONS[old]:
            raise illegal_transition(connection, old, new)
        life.state = new
        return not self._hooks.is_empty and self._hooks.queue(life, old, new)
