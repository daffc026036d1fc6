"""The functions that want to hear of a connection's states, in the order they were given.

Two rules. A hook that fails hurts nobody: its exception is logged with the connection, and the next
hook runs. And calls that a change makes due are queued with their connection, and made in order by
one thread at a time, with no lock of the tracker's held.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from types import CoroutineType
from typing import TYPE_CHECKING, TypeAlias

from .._connection.connection import life_of
from .._connection.state import ConnState
from .unheard import unheard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._connection.connection import Connection
    from .._connection.life import Life

    StateHook: TypeAlias = Callable[[Connection, ConnState | None, ConnState], object]

__all__ = ["HookRegistry", "Hooks"]

log = logging.getLogger("flask_rawsocket")


class Hooks:
    """The hooks of one `flask_rawsocket.RawSocket`.

    Attributes:
        is_set_up: whether a `HookRegistry` calls them.
        hear_states: whether any of them hears of a change: an attribute, asked at every change.
        first_name: the name of the function that was given first.
    """

    def __init__(self) -> None:
        self.is_set_up = False
        self.hear_states = False
        self.first_name = ""
        self._by_state: dict[ConnState, tuple[StateHook, ...]] = dict.fromkeys(ConnState, ())
        """Tuples, replaced whole: reading one needs no lock."""
        self._shutdown: tuple[Callable[[], object], ...] = ()

    def add(self, states: Iterable[ConnState], hook: StateHook) -> None:
        """Call `hook` on every change into one of `states`; into any, where there are none."""
        for state in tuple(states) or ConnState:
            self._by_state[state] += (hook,)
        self.hear_states = True
        self._added(hook)

    def into(self, state: ConnState) -> tuple[StateHook, ...]:
        """Return the hooks of a change into `state`."""
        return self._by_state[state]

    def add_shutdown(self, function: Callable[[], object]) -> None:
        """Call `function` when the server begins to stop."""
        self._shutdown += (function,)
        self._added(function)

    def _added(self, function: Callable[..., object]) -> None:
        self.first_name = self.first_name or _name(function)
        unheard.add(self)

    def save(self) -> Callable[[], None]:
        """Return what makes these hooks again what they are now."""
        kept = dict(vars(self), _by_state=self._by_state.copy())
        return lambda: vars(self).update(kept)

    @property
    def shutdown(self) -> tuple[Callable[[], object], ...]:
        """The functions to call when the server begins to stop."""
        return self._shutdown


class HookRegistry:
    """The hooks of all applications of the process, and the calls of them that are due.

    Changes of it are made under the tracker's lock.
    """

    def __init__(self) -> None:
        self.exit_is_signal: Callable[[], bool] = lambda: True
        """Whether a SystemExit on the main thread is of a signal; the server may know better."""
        self._hooks: tuple[weakref.ref[Hooks], ...] = ()
        """Weak, so that an application that is gone takes its hooks with it."""
        self.is_empty = True
        """Whether no application was ever set up: an attribute, asked at every change."""
        self._running: dict[object, tuple[Callable[..., object], tuple[object, ...]]] = {}
        """The calls that have not returned, with their arguments."""

    def add(self, hooks: Hooks) -> None:
        """Let `hooks` hear of every connection for as long as they exist."""
        hooks.is_set_up = True
        alive = [each for each in self._hooks if each() is not None]
        if all(each() is not hooks for each in alive):
            alive.append(weakref.ref(hooks))
        self._hooks = tuple(alive)
        self.is_empty = False

    def save(self) -> Callable[[], None]:
        """Return what takes back all that is hooked from here on; the tracker's lock is held."""
        hooks, is_empty = self._hooks, self.is_empty
        alive = [each for ref in hooks if (each := ref()) is not None]
        contents = [each.save() for each in alive]

        def restore() -> None:
            for ref in self._hooks:
                added = ref()
                if added is not None and added not in alive:
                    added.is_set_up = False
            for content in contents:
                content()
            self._hooks, self.is_empty = hooks, is_empty

        return restore

    def any_into(self, state: ConnState) -> bool:
        """Tell whether anything is hooked on a change into `state`."""
        if self.is_empty:
            return False
        return any((hooks := ref()) is not None and hooks.into(state) for ref in self._hooks)

    def queue(self, life: Life, old: ConnState | None, new: ConnState) -> bool:
        """Queue the calls that a change makes due; tell whether there are any.

        The caller holds the tracker's lock.
        """
        due = False
        for ref in self._hooks:
            hooks = ref()
            if hooks is None or not hooks.hear_states:
                continue
            for hook in hooks.into(new):
                _queue_of(life).append((hook, old, new))
                due = True
        return due

    def run(self, connection: Connection) -> None:
        """Make the calls that are due for `connection`; return when they have been made.

        If another thread is making them, wait for it. A hook that causes a change of its own
        connection gets that change's calls made in order, behind those already due.
        """
        life = life_of(connection)
        calls, lock = life.due_hooks, life.dispatch_lock
        if calls is None or lock is None:
            return
        with lock:
            while calls:
                hook, old, new = calls.popleft()
                self._call(hook, connection, old, new)

    def run_shutdown(self) -> None:
        """The server begins to stop: call what `RawSocket.on_shutdown` was given."""
        for ref in self._hooks:
            hooks = ref()
            for function in hooks.shutdown if hooks is not None else ():
                self._call(function)

    def unfinished(self) -> list[str]:
        """Name the hooks that have been called and have not returned, and on what."""
        return [f"{_name(hook)} on {_text(args)}" for hook, args in [*self._running.values()]]

    def _call(self, function: Callable[..., object], *args: object) -> None:
        """Call `function`; log what it raises, with its arguments, and go on."""
        call = object()
        self._running[call] = function, args
        try:
            result = function(*args)
            if isinstance(result, CoroutineType):
                result.close()
                log.error(
                    "The hook %s has returned a coroutine, which nobody awaits: it has done "
                    "nothing. Hook a plain function.",
                    _name(function),
                )
        except BaseException as exc:
            is_main = threading.current_thread() is threading.main_thread()
            if not isinstance(exc, Exception) and is_main and self.exit_is_signal():
                raise  # a signal's handler may have raised it, for the server to stop
            log.exception("The hook %s failed on %s", _name(function), _text(args))
        finally:
            del self._running[call]


def _queue_of(life: Life) -> deque:  # type: ignore[type-arg]
    if life.due_hooks is None:
        life.due_hooks = deque()
        # Re-entrant: a hook may close its own connection.
        life.dispatch_lock = threading.RLock()
    return life.due_hooks


def _name(function: Callable[..., object]) -> str:
    return str(getattr(function, "__qualname__", repr(function)))


def _text(args: tuple[object, ...]) -> str:
    return ", ".join(map(str, args)) or "shutdown"
