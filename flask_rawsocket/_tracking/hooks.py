"""The functions that want to hear of a connection's states, in the order they were given.

One rule: a hook that fails hurts nobody.  Its exception is logged with the connection, and the
next hook runs.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, TypeAlias

from .._connection.state import ConnState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._connection.connection import Connection

    StateHook: TypeAlias = Callable[[Connection, ConnState | None, ConnState], object]

__all__ = ["Hooks", "call"]

log = logging.getLogger("flask_rawsocket")


class Hooks:
    """The hooks of one `flask_rawsocket.RawSocket`."""

    def __init__(self) -> None:
        self._by_state: dict[ConnState, tuple[StateHook, ...]] = dict.fromkeys(ConnState, ())
        """Tuples, replaced whole: who reads one needs no lock."""
        self._shutdown: tuple[Callable[[], object], ...] = ()

    def add(self, states: Iterable[ConnState], hook: StateHook) -> None:
        """Call `hook` on every change into one of `states`; into any, where there are none."""
        for state in tuple(states) or ConnState:
            self._by_state[state] += (hook,)

    def into(self, state: ConnState) -> tuple[StateHook, ...]:
        """Give the hooks of a change into `state`."""
        return self._by_state[state]

    def add_shutdown(self, function: Callable[[], object]) -> None:
        """Call `function` when the server begins to stop."""
        self._shutdown += (function,)

    @property
    def shutdown(self) -> tuple[Callable[[], object], ...]:
        """The functions to call when the server begins to stop."""
        return self._shutdown


def call(function: Callable[..., object], *args: object) -> None:
    """Call `function`; log what it raises, with its arguments, and go on."""
    try:
        function(*args)
    except BaseException as exc:
        if not isinstance(exc, Exception) and threading.current_thread() is threading.main_thread():
            raise  # a signal's handler may have raised it, for the server to stop
        name = getattr(function, "__qualname__", repr(function))
        log.exception("The hook %s failed on %s", name, ", ".join(map(str, args)) or "shutdown")
