"""`send_by_kernel`: a file that the kernel sends itself (sendfile(2))."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket

    from .rates import ResponseWait

__all__ = ["CAN_SEND_FILES", "send_by_kernel"]

_sendfile: Any = getattr(os, "sendfile", None)

CAN_SEND_FILES: Final = _sendfile is not None
"""Whether the system has the call."""

_PIECE: Final = 1 << 30
"""What the kernel is given at once; it takes no more than 0x7ffff000 bytes (sendfile(2))."""

_CANNOT: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
"""It cannot send this file (sendfile(2))."""


def send_by_kernel(
    sock: socket.socket, wait: ResponseWait, file: Any, offset: int, count: int | None
) -> int:
    """Have the kernel send of `file` what it can; return how much that is.

    Args:
        sock: to where; in non-blocking mode.
        wait: waits for room.
        file: an open file.
        offset: where to begin in it.
        count: how many bytes; None for all.

    Raises:
        OSError: as ``socket.sendfile`` does.
    """
    sent = 0
    try:
        number = file.fileno()
        while count is None or sent < count:
            left = _PIECE if count is None else min(_PIECE, count - sent)
            try:
                some = _sendfile(sock.fileno(), number, offset + sent, left)
            except BlockingIOError:
                wait.until_ready()
                continue
            if not some:
                break
            wait.sent(some)
            sent += some
    except (AttributeError, io.UnsupportedOperation):
        pass  # a file of no descriptor
    except OSError as exc:
        if sent or exc.errno not in _CANNOT:
            raise
    return sent
