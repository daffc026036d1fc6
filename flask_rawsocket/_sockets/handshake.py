"""Why a connection ends whose TLS handshake has failed."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Final

from .._connection import ending
from .._connection.state import CloseReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._connection.life import Life

__all__ = ["note_failure", "note_interrupt", "noting_failure"]

_NOT_TLS: Final = frozenset(
    {
        "HTTP_REQUEST",
        "HTTPS_PROXY_REQUEST",
        "BAD_RECORD_TYPE",
        "PACKET_LENGTH_TOO_LONG",
        "UNKNOWN_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)
"""OpenSSL's words for a first record that is none (ssl/record/methods/tlsany_meth.c)."""


@contextlib.contextmanager
def noting_failure(life: Life) -> Iterator[None]:
    """Inside, a handshake is made: note why the connection ends if it fails."""
    try:
        yield
    except OSError as exc:
        note_failure(life, exc)
        raise


def note_failure(life: Life, exc: OSError) -> None:
    """A handshake, or a read that was to make one, has raised `exc`: note what has failed."""
    if isinstance(exc, (ssl.SSLWantReadError, ssl.SSLWantWriteError)):
        return  # it does not wait, and is not done
    if isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        ending.note(life, CloseReason.PEER_CLOSED)
    elif isinstance(exc, ssl.SSLError):
        is_tls = exc.reason not in _NOT_TLS
        ending.note(life, CloseReason.HANDSHAKE_FAILED if is_tls else CloseReason.NOT_TLS)
    else:
        ending.broke_off(life, exc)


def note_interrupt(life: Life, exc: BaseException) -> None:
    """Setting up TLS has raised `exc`: note that the server stops, if that says so."""
    if isinstance(exc, KeyboardInterrupt):  # on the main thread, which is to stop
        ending.note(life, CloseReason.STOPPED)
