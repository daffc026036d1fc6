"""The text of a socket address, and the override for UNIX peers, which have none.

One rule: these texts are made here and never parsed. A client chooses the path that its own socket
is bound to, so an identity parsed out of an address is one that the client chose (CVE-2019-7304).
"""

from __future__ import annotations

import socket
from typing import Final, TypeAlias

__all__ = [
    "AF_UNIX",
    "RemoteAddr",
    "SocketAddress",
    "override_text",
    "text_of",
]

SocketAddress: TypeAlias = "tuple[str, int] | tuple[str, int, int, int] | str | bytes"
"""A socket address: a tuple for IPv4 and IPv6, a path or an abstract name for UNIX."""

AF_UNIX: Final[int] = getattr(socket, "AF_UNIX", -1)
"""The family of UNIX sockets; -1, the family of no socket, if the platform lacks them."""


class RemoteAddr(str):
    """A peer's address as text: ``192.0.2.1:54321``, ``[2001:db8::1]:443`` or ``@4711.12``."""

    __slots__ = ()

    @classmethod
    def of_peer(cls, address: SocketAddress) -> RemoteAddr:
        """Return the text of an IPv4 or IPv6 peer's address; a UNIX name is returned as it is.

        Args:
            address: as ``accept()`` or ``getpeername()`` returned it.
        """
        return cls(text_of(address))

    @classmethod
    def override(cls, pid: int, number: int) -> RemoteAddr:
        """Return the name of a UNIX peer, whose own address is empty for every client.

        Args:
            pid: the id of the server's process.
            number: the connection's number, never used again in this process.
        """
        return cls(override_text(pid, number))


def text_of(address: SocketAddress) -> str:
    """Return what `RemoteAddr.of_peer` does, as a plain string, which takes half the memory."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return address.decode(errors="replace") if isinstance(address, bytes) else address


def override_text(pid: int, number: int) -> str:
    """Return what `RemoteAddr.override` does, as a plain string."""
    return f"@{pid}.{number}"
