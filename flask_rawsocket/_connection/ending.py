"""Why a connection would be CLOSED if it were closed now: the ledger of close reasons.

One rule: only this file writes ``life.ending``, and decides what outweighs what. At first nothing
is known. While a request is in hand it is taken for the application's failure, before or in the
middle of its response: any other reason replaces that, and is replaced by none.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from .. import sockinfo
from ..errors import ConnectionClosedError
from .state import CloseReason, ConnState

if TYPE_CHECKING:
    from .life import Life

__all__ = [
    "PEER_LOST",
    "answered",
    "app_has_ended",
    "assume",
    "broke_off",
    "cut",
    "guess",
    "is_by_peer",
    "none_came",
    "note",
    "reason",
    "request_begun",
    "reset",
    "response_made",
    "settle",
    "settle_end",
]

PEER_LOST: Final = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH})
"""The system has given the peer up."""

_OF_PEER: Final = dict.fromkeys(PEER_LOST, CloseReason.PEER_LOST) | {
    errno.ECONNRESET: CloseReason.PEER_RESET
}
"""What an error of a read or a write says of the peer."""

_REPLACEABLE: Final = (None, CloseReason.VIEW_FAILED, CloseReason.RESPONSE_BROKEN)


def reason(life: Life) -> CloseReason:
    """Return the reason; where none is known, ask the kernel."""
    exchange = life.exchange
    if life.ending is CloseReason.VIEW_FAILED and exchange is not None and exchange.is_cut():
        return CloseReason.RESPONSE_BROKEN
    return life.ending or guess(life)


def is_by_peer(life: Life) -> bool:
    """Tell whether it is known that the peer has ended the connection."""
    return life.ending is not None and life.ending.group is CloseReason.CLIENT


def request_begun(life: Life) -> None:
    """A request is in hand: if the connection ends before the response, its view has failed."""
    life.ending = CloseReason.VIEW_FAILED


def cut(life: Life) -> None:
    """The response has begun, and there is no more of it."""
    if life.ending is CloseReason.VIEW_FAILED:
        life.ending = CloseReason.RESPONSE_BROKEN


def response_made(life: Life) -> None:
    """The response is complete, and the last of it may be on its way: nobody has failed so far."""
    if life.ending in _REPLACEABLE:
        life.ending = None


def answered(life: Life) -> None:
    """The response has ended, and the connection is not kept."""
    note(life, CloseReason.RESPONSE_COMPLETE)


def reset(life: Life) -> None:
    """Nothing is known any more: the connection is kept alive, or has been hijacked."""
    life.ending = None


def app_has_ended(life: Life) -> None:
    """The application has served the connection itself, and is done; or the peer was before."""
    if life.ending in _REPLACEABLE:
        why = guess(life)
        life.ending = why if why.group is CloseReason.CLIENT else CloseReason.APP_CLOSED


def none_came(life: Life) -> None:
    """No request came in time, neither a first one nor a next one; assume that."""
    is_idle = life.state is ConnState.IDLE
    assume(life, CloseReason.KEEPALIVE_OVER if is_idle else CloseReason.NO_REQUEST)


def was_not_called(life: Life) -> None:
    """The server has given the request up before it called the application, which did not fail."""
    if life.ending is CloseReason.VIEW_FAILED:
        life.ending = CloseReason.SERVER_FAILED


def broke_off(life: Life, exc: Exception) -> bool:
    """A read or a write has failed with `exc`: note what that says of the peer.

    It may be a view's own, of another connection: the kernel is asked about this one.

    Returns:
        Whether the peer is gone.
    """
    if isinstance(exc, BlockingIOError):
        return False
    why = guess(life)
    if why.group is not CloseReason.CLIENT:
        return False
    # Once a read has raised a reset, the kernel knows of none any more.
    note(life, _OF_PEER.get(getattr(exc, "errno", None) or 0, why))
    return True


def note(life: Life, why: CloseReason) -> None:
    """`why` is a fact; one that is known already stays."""
    if life.ending in _REPLACEABLE:
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
    ours = CloseReason.APP_CLOSED if life.is_hijacked() else CloseReason.SERVER_FAILED
    sock = life.sock
    if sock is None or sock.fileno() < 0:
        return ours
    try:
        status = sockinfo.peer_status(sock)
    except (ConnectionClosedError, NotImplementedError):
        # Closed by another thread since we looked; or a system that cannot say.
        return ours
    if status is sockinfo.PeerStatus.OPEN:
        return ours
    is_reset = status is sockinfo.PeerStatus.RESET
    return CloseReason.PEER_RESET if is_reset else CloseReason.PEER_CLOSED
