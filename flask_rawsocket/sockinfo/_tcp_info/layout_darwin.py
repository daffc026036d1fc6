"""macOS' ``struct tcp_connection_info``, by offset; never run there, read off ``netinet/tcp.h``.

112 bytes, little-endian on every Mac that runs a supported Python. Times are milliseconds.
"""

from __future__ import annotations

from .._enums import TCPOptions, TCPState
from .item import MILLI, Item
from .value import Layout

__all__ = ["DARWIN"]

_STATES = {
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
"""``TSI_S_*``, as of ``netinet/tcp_fsm.h``; the BSDs number them alike."""


def _options(value: int) -> TCPOptions:
    """``TCPCI_OPT_*``: the four lowest bits are those of Linux; the others are not known here."""
    return TCPOptions(value & 0x0F)


DARWIN = Layout(
    "DARWIN",
    __name__,
    "macOS",
    "<",
    {
        "state": Item(0, "B", _STATES.get),
        "snd_wscale": Item(1, "B"),
        "rcv_wscale": Item(2, "B"),
        "options": Item(4, "I", _options),
        "flags": Item(8, "I"),
        "rto": Item(12, "I", MILLI),
        "snd_mss": Item(16, "I"),
        "snd_ssthresh_bytes": Item(20, "I"),
        "snd_cwnd_bytes": Item(24, "I"),
        "snd_wnd": Item(28, "I"),
        "snd_sbbytes": Item(32, "I"),
        "rcv_wnd": Item(36, "I"),
        "rttcur": Item(40, "I", MILLI),
        "rtt": Item(44, "I", MILLI),
        "rttvar": Item(48, "I", MILLI),
        "tfo": Item(52, "I"),
        "txpackets": Item(56, "Q"),
        "txbytes": Item(64, "Q"),
        "bytes_retrans": Item(72, "Q"),
        "rxpackets": Item(80, "Q"),
        "rxbytes": Item(88, "Q"),
        "rxoutoforderbytes": Item(96, "Q"),
        "total_retrans": Item(104, "Q"),
    },
)
