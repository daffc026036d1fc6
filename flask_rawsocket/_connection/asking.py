"""Which request it is that asks something of its connection.

What belongs to a request (to hijack, to set deadlines ...) is refused to a thread that has outlived
its request, while the connection serves another one; Go panics there. A thread says which request
it is of by its request context, which a framework keeps: so the Flask face tells us how to ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InvalidStateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .connection import Connection
    from .exchange import Exchange
    from .life import Life

    Asker = tuple[Connection, Exchange | None]

__all__ = ["ask_by", "check_asker", "name_by", "view_name"]

_askers: list[Callable[[], Asker | None]] = []
_namers: list[Callable[[], str | None]] = []


def ask_by(asker: Callable[[], Asker | None]) -> None:
    """Have `asker` asked, from here on, for the connection and request of the calling thread."""
    _askers.append(asker)


def name_by(namer: Callable[[], str | None]) -> None:
    """Have `namer` asked, from here on, for the name of the view of the calling thread."""
    _namers.append(namer)


def view_name() -> str | None:
    """Return the name of the view of the calling thread; None where there is none."""
    return next((name for namer in _namers if (name := namer())), None)


def check_asker(connection: Connection, life: Life) -> None:
    """Check that the calling thread is not of a former request of `connection`.

    A thread without a request context acts on the request in hand.

    Raises:
        InvalidStateError: it is, and another request is in hand.
    """
    exchange = life.exchange
    if exchange is None or life.is_hijacked():
        return
    for asker in _askers:
        asked = asker()
        if asked is not None and asked[0] is connection and asked[1] not in (None, exchange):
            raise InvalidStateError(
                f"the request that asks this of {connection!r} has ended; another one is in hand"
            )
