"""Hooks that nobody calls, and the warnings that say so, each once in a process.

There are two reasons: the server is not one of ours, or the `flask_rawsocket.RawSocket` was never
set up on an application. Both are known only when a request comes in.
"""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .hooks import Hooks

__all__ = ["Unheard", "unheard"]

log = logging.getLogger("flask_rawsocket")


class Unheard:
    """The hooks of the process that have functions to call.

    Attributes:
        may_lack_set_up: whether the next request is to call `check_set_up`.
        may_lack_server: whether the next request on a server that is not ours is to call
            `check_server`.
    """

    def __init__(self) -> None:
        self._hooks: weakref.WeakSet[Hooks] = weakref.WeakSet()
        self._said: set[str] = set()
        self.may_lack_set_up = False
        self.may_lack_server = False

    def add(self, hooks: Hooks) -> None:
        """A function has been given to `hooks`."""
        self._hooks.add(hooks)
        self.may_lack_server = True
        self.may_lack_set_up = self.may_lack_set_up or not hooks.is_set_up

    def save(self) -> Callable[[], None]:
        """Return what makes this what it is now, but for hooks that are new: for tests."""
        said, flags = self._said.copy(), (self.may_lack_set_up, self.may_lack_server)

        def restore() -> None:
            self._said = said
            self.may_lack_set_up, self.may_lack_server = flags

        return restore

    def check_set_up(self) -> None:
        """A request has come in: warn of hooks that were never set up."""
        self.may_lack_set_up = False
        for hooks in list(self._hooks):
            if not hooks.is_set_up:
                self._warn(
                    "%s is never called: its RawSocket was not set up on an application. "
                    "Call init_app(app), or pass the app to RawSocket().",
                    hooks,
                )
                return

    def check_server(self) -> None:
        """A request has come in on a server that is not ours: warn of hooks."""
        self.may_lack_server = False
        for hooks in list(self._hooks):
            self._warn(
                "%s is never called: hooks need a server of Flask-RawSocket. Run the app with "
                "`gunicorn -k flask_rawsocket.Worker` or `flask rawsocket run`.",
                hooks,
            )
            return

    def _warn(self, text: str, hooks: Hooks) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning(text, f"The hook {hooks.first_name}")


unheard = Unheard()
"""Of this process."""
