"""`send_by_kernel`: have the kernel send a file (sendfile(2)), and wait for the peer in between."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket

    from .rates import ResponseWait

__all__ = ["send_by_kernel"]

_os: Any = os
"""It has the call on some systems only."""

_PIECE: Final = 1 << 30
"""What the kernel is given at once; it takes no more than 0x7ffff000 bytes (sendfile(2))."""

_NO_SENDFILE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
"""It cannot send this file (sendfile(2))."""


def send_by_kernel(
    sock: socket.socket, wait: ResponseWait, file: Any, offset: int, count: int | None
) -> int:
    """Send of `file` what the kernel can.

    Args:
        sock: where to; it does not block.
        wait: waits for room.
        file: any file; one without a descriptor is left to the caller.
        offset: where to begin, in bytes.
        count: how many bytes; None for all there are.

    Returns:
        How many have been sent.

    Raises:
        OSError: the peer is gone, or reads too slowly.
    """
    sent = 0
    try:
        number = file.fileno()
        while count is None or sent < count:
            left = _PIECE if count is None else min(_PIECE, count - sent)
            try:
                some = _os.sendfile(sock.fileno(), number, offset + sent, left)
            except BlockingIOError:
                wait.until_ready()
                continue
            if not some:
                break
            wait.sent(some)
            sent += some
    except (AttributeError, io.UnsupportedOperation):
        pass  # a file of no descriptor, or a system without the call
    except OSError as exc:
        if sent or exc.errno not in _NO_SENDFILE:
            raise
    return sent
