"""Linux's option numbers that Python does not name, by architecture; loads on every system.

Source: the ``asm/socket.h`` of each architecture. An option for which Python has a constant is not
here: that constant is the architecture's own. ``TCP_*`` numbers are the same on all of them.
"""

from __future__ import annotations

import platform
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NUMBERS", "numbers_of"]

_GENERIC = MappingProxyType(
    {
        "SO_MARK": 36,
        "SO_MAX_PACING_RATE": 47,
        "SO_INCOMING_CPU": 49,
        "SO_COOKIE": 57,
        "SO_PEERGROUPS": 59,
        "SO_PEERPIDFD": 77,
    }
)
"""asm-generic; mips and alpha have the same numbers for all of these."""

_SPARC = MappingProxyType(
    {
        "SO_MARK": 34,
        "SO_MAX_PACING_RATE": 49,
        "SO_INCOMING_CPU": 51,
        "SO_COOKIE": 59,
        "SO_PEERGROUPS": 61,
        "SO_PEERPIDFD": 86,
    }
)
_PARISC = MappingProxyType(
    {
        "SO_MARK": 0x401F,
        "SO_MAX_PACING_RATE": 0x4028,
        "SO_INCOMING_CPU": 0x402A,
        "SO_COOKIE": 0x4032,
        "SO_PEERGROUPS": 0x4034,
        "SO_PEERPIDFD": 0x404B,
    }
)


def numbers_of(machine: str) -> Mapping[str, int]:
    """Return the numbers of an architecture, by the option's name in C.

    Args:
        machine: as in ``os.uname().machine``.
    """
    if machine.startswith("sparc"):
        return _SPARC
    if machine.startswith("parisc"):
        return _PARISC
    return _GENERIC


NUMBERS = numbers_of(platform.machine())
