"""Why a connection would be CLOSED if it were closed now: the ledger of close reasons.

One rule: only this file writes ``life.ending``, and decides what outweighs what. At first nothing
is known. While a request is in hand the reason is ERROR, for want of a better one: any other
reason replaces it, and is replaced by none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import sockinfo
from ..errors import ConnectionClosedError
from .state import CloseReason

if TYPE_CHECKING:
    from .life import Life

__all__ = [
    "answered",
    "app_has_ended",
    "assume",
    "guess",
    "note",
    "reason",
    "request_begun",
    "reset",
    "settle",
    "settle_end",
]


def reason(life: Life) -> CloseReason:
    """Return the reason; where none is known, ask the kernel."""
    return life.ending or guess(life)


def request_begun(life: Life) -> None:
    """A request is in hand: if the connection ends before the response, somebody failed."""
    life.ending = CloseReason.ERROR


def answered(life: Life) -> None:
    """The response has ended, and the connection is not kept."""
    life.ending = CloseReason.AFTER_RESPONSE


def reset(life: Life) -> None:
    """Nothing is known any more: the connection is kept alive, or has been hijacked."""
    life.ending = None


def app_has_ended(life: Life) -> None:
    """The application has served the connection itself, and is done; or the peer was before."""
    if life.ending is None or life.ending is CloseReason.ERROR:
        why = guess(life)
        life.ending = why if why is CloseReason.CLIENT else CloseReason.APP


def note(life: Life, why: CloseReason) -> None:
    """`why` is a fact; a better reason than ERROR that is known already stays."""
    if life.ending is None or life.ending is CloseReason.ERROR:
        life.ending = why


def assume(life: Life, why: CloseReason) -> None:
    """The reason is `why` if nothing at all is known."""
    if life.ending is None:
        life.ending = why


def settle(life: Life) -> None:
    """Ask the kernel now, if nothing is known: what comes next would look like the peer's end."""
    if life.ending is None and not life.is_hijacked():
        life.ending = guess(life)


def settle_end(life: Life) -> None:
    """Ask the kernel now, if nothing is known: our side ends it next, be it the owner's."""
    if life.ending is None:
        life.ending = guess(life)


def guess(life: Life) -> CloseReason:
    """Ask the kernel which side has ended the connection, where the server did not note it."""
    ours = CloseReason.APP if life.is_hijacked() else CloseReason.ERROR
    sock = life.sock
    if sock is None or sock.fileno() < 0:
        return ours
    try:
        status = sockinfo.peer_status(sock)
    except (ConnectionClosedError, NotImplementedError):
        # Closed by another thread since we looked; or a system that cannot say.
        return ours
    return ours if status is sockinfo.PeerStatus.OPEN else CloseReason.CLIENT
