"""The last connections of a listening socket: none is lost between the last accept and the close.

What the kernel has queued when a listening socket is closed is reset, although its clients have
been told that they are connected. So new ones are refused first, where that can be done; and the
last look into the queue and the close follow each other as closely as Python can make them.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
import sys
from typing import Any, Final

from .._connection.address import AF_UNIX

__all__ = ["close_when_empty", "peer_of", "refuse"]

_SO_ATTACH_FILTER: Final = {"linux": 26}.get(sys.platform)
"""asm-generic/socket.h; not in Python's `socket`."""

_DROP_SYN: Final = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # ldb [13]: the flags of the TCP header
        (0x45, 0, 1, 0x02),  # jset #SYN, else skip one
        (0x06, 0, 0, 0),  # ret #0: drop it
        (0x06, 0, 0, 0xFFFFFFFF),  # ret #-1: keep it whole
    )
)
"""A classic BPF program. What is no SYN passes: handshakes that have begun can end."""


def refuse(sock: socket.socket) -> None:
    """Have the kernel take no new connection for `sock`, whose queue stays as it is.

    This is the socket's, and not only this process's: use it where nobody else is to accept from
    it any more. Over TCP the handshake is not answered; the client tries again after a second, when
    the socket is closed and the kernel refuses it. Over a UNIX socket it is refused at once. On
    other systems than Linux nothing happens.

    Args:
        sock: a listening socket.
    """
    if _SO_ATTACH_FILTER is None:
        return
    with contextlib.suppress(OSError):  # a sandbox without it: then as elsewhere
        if sock.family == AF_UNIX:
            sock.shutdown(socket.SHUT_RD)
        else:
            program = array.array("B", _DROP_SYN)
            address, length = program.buffer_info()
            filter_ = struct.pack("HP", length // 8, address)
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)


def close_when_empty(sock: socket.socket) -> list[int]:
    """Close `sock`, whose queue is empty or nearly so; return the descriptors that were in it.

    Between the last accept and the close the interpreter is not released, for which a thread may
    wait for milliseconds until it has it again.

    Args:
        sock: a non-blocking listening socket, which is detached.
    """
    found: list[int] = []
    if sys.platform == "win32":
        sock.close()
    else:
        import ctypes  # noqa: PLC0415  not before it is needed: few processes come here

        library: Any = ctypes.PyDLL(None)
        accept, close = library.accept, library.close
        listening = sock.detach()
        while (descriptor := accept(listening, None, None)) >= 0:
            found.append(descriptor)
        close(listening)
        for descriptor in found:
            os.set_inheritable(descriptor, False)  # noqa: FBT003  it takes no name
            os.set_blocking(descriptor, True)
    return found


def peer_of(descriptor: int, family: int) -> Any:
    """Return the address of the peer of `descriptor`, as ``accept()`` would have.

    Args:
        descriptor: a connected socket's, which stays open.
        family: its address family.
    """
    sock = socket.socket(family, socket.SOCK_STREAM, 0, descriptor)
    try:
        return sock.getpeername()
    except OSError:  # it has been reset already
        return "" if family == AF_UNIX else ("", 0)
    finally:
        sock.detach()
