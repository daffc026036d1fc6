"""`HTTP2Exchange`: what there is of a request in hand where the connection speaks HTTP/2."""

from __future__ import annotations

from typing import Any

from .._connection import exchange
from ..errors import UnsupportedError

__all__ = ["HTTP2Exchange"]


class HTTP2Exchange(exchange.Exchange):
    """The streams of an HTTP/2 connection: none of them can take the connection of all."""

    __slots__ = ("response",)

    def force_close(self) -> None:
        """Refuse: HTTP/2 has no ``Connection`` header (RFC 9113, section 8.2.2)."""
        raise UnsupportedError("close_after_response is not supported on HTTP/2")

    def refusal(self) -> Exception:
        """Return the reason why the server cannot let go of the connection."""
        return UnsupportedError("an HTTP/2 connection is shared by its streams: no hijack")

    def has_begun(self) -> bool:
        return True

    def _unreachable(self, *_: Any) -> Any:
        raise self.refusal()

    let_go = no_response = _may_read_yet = _has_sent_head = _unreachable
    complain: Any = _unreachable
    read_failed: Any = _unreachable
    _is_in_chunked_body = _take_read_ahead = _unreachable
    _send: Any = _unreachable
