"""`Orphan`: the raw socket of a connection whose owner has forgotten its stream."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from .._sockets.close_notify import send_close_notify
from .._sockets.tracked import Tracked

if TYPE_CHECKING:
    from .._sockets.duties import Duties

    _Base = socket.socket
else:
    _Base = object

__all__ = ["Orphan"]


class _Raw(_Base):
    """A raw socket with what the tracked part asks of a socket."""

    def __init__(self, raw: Any, session: Any) -> None:
        self._raw = raw
        self._sslobj = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def fileno(self) -> int:
        """Return the descriptor."""
        number: int = self._raw.fileno()
        return number

    def close(self) -> None:
        """Close the descriptor."""
        self._real_close()

    def _real_close(self) -> None:
        self._raw.close()


class Orphan(Tracked, _Raw):
    """A connection that is to be ended, and is nobody's.

    Args:
        raw: the raw socket, which does not block.
        session: OpenSSL's, under TLS; else None.
        duties: the connection's.
    """

    def __init__(self, raw: Any, session: Any, duties: Duties) -> None:
        super().__init__(raw, session)
        self.duties = duties

    def shutdown_raw(self, how: int) -> None:
        """Call shutdown(2)."""
        self._raw.shutdown(how)

    def end_halves(self, how: int) -> None:
        """Say the end to the peer."""
        if self._sslobj is not None and how != socket.SHUT_RD:
            send_close_notify(self)
        self.shutdown_raw(how)

    def __del__(self) -> None:
        """Do nothing: the raw socket closes itself."""
