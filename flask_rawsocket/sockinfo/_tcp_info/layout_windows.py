"""Windows's ``TCP_INFO_v0`` and ``TCP_INFO_v1``, by offset; from ``mstcpip.h``, never run there.

88 and 136 bytes; the second extends the first. Windows is always little-endian.
"""

from __future__ import annotations

from .._enums import TCPState
from .item import MICRO, MILLI, Item, none_if
from .value import Layout

__all__ = ["WINDOWS"]

_STATES = {
    0: TCPState.CLOSE,
    1: TCPState.LISTEN,
    2: TCPState.SYN_SENT,
    3: TCPState.SYN_RECV,
    4: TCPState.ESTABLISHED,
    5: TCPState.FIN_WAIT1,
    6: TCPState.FIN_WAIT2,
    7: TCPState.CLOSE_WAIT,
    8: TCPState.CLOSING,
    9: TCPState.LAST_ACK,
    10: TCPState.TIME_WAIT,
}
"""``TCPSTATE`` of ``mstcpip.h``; not in the order of the BSDs."""
_NO_SAMPLE = 0xFFFFFFFF

WINDOWS = Layout(
    "WINDOWS",
    __name__,
    "Windows",
    "<",
    {
        "state": Item(0, "I", _STATES.get),
        "snd_mss": Item(4, "I"),
        "connection_time": Item(8, "Q", MILLI),
        "timestamps_enabled": Item(16, "B", bool),
        "rtt": Item(20, "I", MICRO),
        "min_rtt": Item(24, "I", none_if(_NO_SAMPLE, MICRO)),
        "bytes_in_flight": Item(28, "I"),
        "snd_cwnd_bytes": Item(32, "I"),
        "snd_wnd": Item(36, "I"),
        "rcv_wnd": Item(40, "I"),
        "rcv_buf": Item(44, "I"),
        "bytes_out": Item(48, "Q"),
        "bytes_in": Item(56, "Q"),
        "bytes_reordered": Item(64, "I"),
        "bytes_retrans": Item(68, "I"),
        "fast_retrans": Item(72, "I"),
        "dup_acks_in": Item(76, "I"),
        "timeout_episodes": Item(80, "I"),
        "syn_retrans": Item(84, "B"),
        "snd_lim_trans_rwin": Item(88, "I"),
        "snd_lim_time_rwin": Item(92, "I", MILLI),
        "snd_lim_bytes_rwin": Item(96, "Q"),
        "snd_lim_trans_cwnd": Item(104, "I"),
        "snd_lim_time_cwnd": Item(108, "I", MILLI),
        "snd_lim_bytes_cwnd": Item(112, "Q"),
        "snd_lim_trans_snd": Item(120, "I"),
        "snd_lim_time_snd": Item(124, "I", MILLI),
        "snd_lim_bytes_snd": Item(128, "Q"),
    },
)
