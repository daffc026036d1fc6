"""`LimitedResponse`: an HTTP response that ends in time, whatever the server does.

A socket's timeout begins anew with every byte, and ``http.client`` reads whatever comes. So the
limits are here, where the bytes come in: they hold for the head, too.
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
"""Bytes that the whole response may have: the rows of some forty thousand connections."""


class LimitedResponse(http.client.HTTPResponse):
    """A response that raises ``OSError`` when it has taken too long, or become too large."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Limited(self.fp.detach(), sock))


def whole(response: http.client.HTTPResponse) -> bytes:
    """Read the body of `response`.

    Raises:
        http.client.IncompleteRead: the server has ended it too early.
    """
    # Never without a number: a server that announces any size would have it allocated.
    body = response.read(_SIZE)
    if response.length:
        raise http.client.IncompleteRead(body, response.length)
    return body


class _Limited(io.RawIOBase):
    """Reads `raw`, the file of `sock`, as far as the limits go."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self._until = time.monotonic() + _TIME
        self._room = _SIZE

    def readable(self) -> bool:
        """Say yes: a buffer asks."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what there is into `buffer`."""
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
        """Close the socket's file, and with it the socket if nothing else has it."""
        super().close()
        self._raw.close()
