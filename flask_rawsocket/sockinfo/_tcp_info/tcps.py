"""`TCPS`: the numbers that the BSDs and macOS give to the states of a TCP connection."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from .._enums import TCPState

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TCPS"]

TCPS: Mapping[int, TCPState] = MappingProxyType(
    {
        0: TCPState.CLOSE,
        1: TCPState.LISTEN,
        2: TCPState.SYN_SENT,
        3: TCPState.SYN_RECV,
        4: TCPState.ESTABLISHED,
        5: TCPState.CLOSE_WAIT,
        6: TCPState.FIN_WAIT1,
        7: TCPState.CLOSING,
        8: TCPState.LAST_ACK,
        9: TCPState.FIN_WAIT2,
        10: TCPState.TIME_WAIT,
    }
)
"""``TCPS_*`` of ``netinet/tcp_fsm.h``; macOS's ``TSI_S_*`` are the same numbers."""
