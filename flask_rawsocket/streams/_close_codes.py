"""The close codes of WebSockets (RFC 6455, section 7.4), and the error that carries one."""

from __future__ import annotations

from typing import Final

from ..errors import ConnectionClosedError

__all__ = [
    "ABNORMAL",
    "FAILED",
    "GOING_AWAY",
    "NORMAL",
    "NOT_UTF8",
    "RESTART",
    "WebSocketClosedError",
    "check_close",
]

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
ABNORMAL: Final = 1006
NOT_UTF8: Final = 1007
FAILED: Final = 1011
RESTART: Final = 1012

_SENDABLE: Final = {*range(1000, 1015), *range(3000, 5000)} - {1004, 1005, 1006}
_LONGEST_REASON: Final = 123


def check_close(code: int, reason: str) -> None:
    """Check that a close frame can say this.

    Raises:
        ValueError: the code is reserved, or the reason is longer than 123 bytes.
    """
    if code not in _SENDABLE:
        raise ValueError(f"{code!r} is not a close code to be sent (RFC 6455, section 7.4)")
    if len(reason.encode()) > _LONGEST_REASON:
        raise ValueError("the reason of a close is at most 123 bytes (RFC 6455, section 5.5)")


class WebSocketClosedError(ConnectionClosedError):
    """The WebSocket has been closed, by either side.

    Attributes:
        code: the close code (RFC 6455, section 7.4); 1006 if there was no close frame.
        reason: what the close frame says.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket has been closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason
