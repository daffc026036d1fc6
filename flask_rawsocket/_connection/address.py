"""The text of a socket address, and the override for UNIX peers, which have none.

One rule: these texts are made here and never read back. A client chooses the path that its own
end is bound to, so whoever parses an identity out of an address lets the client choose it
(CVE-2019-7304 was that).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["AF_UNIX", "ProxyHeader", "RemoteAddr", "SocketAddress"]

SocketAddress: TypeAlias = "tuple[str, int] | tuple[str, int, int, int] | str | bytes"
"""What ``getpeername()`` gives: a tuple for IPv4 and IPv6, a path or an abstract name for UNIX."""

AF_UNIX: Final[int] = getattr(socket, "AF_UNIX", -1)
"""The family of UNIX sockets; -1, which no socket has, where the platform lacks them."""


class RemoteAddr(str):
    """A peer's address as text: ``192.0.2.1:54321``, ``[2001:db8::1]:443`` or ``@4711.12``."""

    __slots__ = ()

    @classmethod
    def of_peer(cls, address: SocketAddress) -> RemoteAddr:
        """Give the text of an IPv4 or IPv6 peer's address, or of a UNIX name as it is.

        Args:
            address: as ``accept()`` or ``getpeername()`` returned it.
        """
        if isinstance(address, tuple):
            host, port = address[:2]
            return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        return cls(address.decode(errors="replace") if isinstance(address, bytes) else address)

    @classmethod
    def override(cls, pid: int, number: int) -> RemoteAddr:
        """Give the name of a UNIX peer, whose address is empty for every client.

        Args:
            pid: the server process's id.
            number: the connection's number, never used again in that process.
        """
        return cls(f"@{pid}.{number}")


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a PROXY protocol header, version 1 or 2, said before the first request.

    Source: the PROXY protocol specification, sections 2.1 and 2.2 (haproxy,
    ``doc/proxy-protocol.txt``).
    """

    protocol: str
    """``TCP4``, ``TCP6``, ``UDP4``, ``UDP6``, ``LOCAL`` or ``UNSPEC``."""

    source: tuple[str, int] | None
    """The client's address and port as the proxy saw them; None where the header has none."""

    destination: tuple[str, int] | None
    """The address and port that the client connected to; None where the header has none."""
