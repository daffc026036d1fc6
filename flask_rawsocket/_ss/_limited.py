"""`LimitedResponse`: an HTTP response with a time limit, whatever the server does.

A socket's timeout starts again with each byte, and ``http.client`` reads whatever comes. So the
limits are enforced here, where the bytes come in; they apply to the head, too.
"""

from __future__ import annotations

import http.client
import io
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

    from _typeshed import WriteableBuffer

__all__ = ["LimitedResponse", "whole"]

_SILENCE = 10.0
"""Seconds that the server may be silent."""
_TIME = 30.0
"""Seconds that the whole response may take, its head included."""
_SIZE = 32 * 1024 * 1024
"""Bytes that the whole response may have: about forty thousand connections."""


class LimitedResponse(http.client.HTTPResponse):
    """A response that raises ``OSError`` when it has taken too long, or become too large."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Limited(self.fp.detach(), sock))


def whole(response: http.client.HTTPResponse) -> bytes:
    """Return the body of `response`.

    Raises:
        http.client.IncompleteRead: the server ended it too early.
    """
    # Always with a limit: otherwise Python allocates as much as the server announces.
    body = response.read(_SIZE)
    if response.length:
        raise http.client.IncompleteRead(body, response.length)
    return body


class _Limited(io.RawIOBase):
    """A file that reads from `raw`, the file of `sock`, up to the limits."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self._until = time.monotonic() + _TIME
        self._room = _SIZE

    def readable(self) -> bool:
        """Return True, as ``io.BufferedReader`` requires."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what is available into `buffer`."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise self._too_slow()
        self._sock.settimeout(min(left, _SILENCE))
        try:
            count = self._raw.readinto(buffer) or 0
        except TimeoutError:
            if left > _SILENCE:
                raise
            raise self._too_slow() from None
        self._room -= count
        if self._room < 0:
            raise OSError(f"the answer is larger than {_SIZE / 2**20:g} MiB")
        return count

    @staticmethod
    def _too_slow() -> TimeoutError:
        return TimeoutError(f"the answer takes longer than {_TIME:g} seconds")

    def close(self) -> None:
        """Close the socket's file, and thereby the socket if nothing else uses it."""
        super().close()
        self._raw.close()
