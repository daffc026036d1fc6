"""macOS's ``struct tcp_connection_info``, by offset; from ``netinet/tcp.h``, never run on a Mac.

112 bytes, little-endian on every Mac that runs a supported Python. Times are in milliseconds.
"""

from __future__ import annotations

from .._enums import TCPOptions
from .item import MILLI, Item
from .tcps import TCPS
from .value import Layout

__all__ = ["DARWIN"]


def _options(value: int) -> TCPOptions:
    """Decode ``TCPCI_OPT_*``: Linux's four lowest bits; the others are not known here."""
    return TCPOptions(value & 0x0F)


DARWIN = Layout(
    "DARWIN",
    __name__,
    "macOS",
    "<",
    {
        "state": Item(0, "B", TCPS.get),
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
