"""Linux's ``struct tcp_info``, by offset; imports no system module, so it loads on every system.

The offsets are ``offsetof``'s, with the header of 7.2; every member is naturally aligned, so 32 and
64 bit agree. There are three layouts for each byte order, as the length does not tell two things.
`fastopen_client_fail` (5.5) uses bits that are padding in 5.4, whose answer has the same size. And
the word at offset 276 was two 16-bit counters in 6.18, and was divided anew in 7.0.
"""

from __future__ import annotations

import re
import sys

from .._enums import CongestionState, TCPOptions, TCPState
from .item import MICRO, MILLI, Item, bits, none_if
from .value import Layout

__all__ = ["BIG", "BIG_5_5", "BIG_7", "LITTLE", "LITTLE_5_5", "LITTLE_7", "layout_of"]

_STATES = {
    1: TCPState.ESTABLISHED,
    2: TCPState.SYN_SENT,
    3: TCPState.SYN_RECV,
    4: TCPState.FIN_WAIT1,
    5: TCPState.FIN_WAIT2,
    6: TCPState.TIME_WAIT,
    7: TCPState.CLOSE,
    8: TCPState.CLOSE_WAIT,
    9: TCPState.LAST_ACK,
    10: TCPState.LISTEN,
    11: TCPState.CLOSING,
}
_CA_STATES = dict(enumerate(CongestionState))

_NO_THRESHOLD = 0x7FFFFFFF
_NO_SAMPLE = 0xFFFFFFFF
_NO_LIMIT = 2**64 - 1
"""What the kernel writes for "none"."""

_LINUX_4_9 = 168
"""The shortest answer in which the flag at offset 7 has its meaning; before, it was padding."""

_LINUX_5_5 = 232
"""The same for the bits next to it, where the release is known to be 5.5 or later: 5.4's answer has
this length too."""

_LINUX_6_2 = 240
"""Likewise where the release is not known: the first length that 5.4 cannot have."""


def _bits(order: str, first: int, width: int, size: int = 8) -> tuple[int, int]:
    """Return the shift and the width of a C bitfield that starts after `first` bits.

    Compilers fill a word from its least significant bit on little-endian machines, and from its
    most significant one on big-endian machines.
    """
    return (first if order == "<" else size - first - width), width


def _flag(order: str, first: int) -> Item:
    shift, width = _bits(order, first, 1)
    pick = bits(shift, width)
    return Item(7, "B", lambda value: bool(pick(value)), needs=_LINUX_4_9)


def _head(order: str, fastopen: int) -> dict[str, Item]:
    """Return the bytes up to offset 8: enums, small counters and bitfields.

    Args:
        order: the byte order.
        fastopen: the shortest answer that has `fastopen_client_fail`.
    """
    return {
        "state": Item(0, "B", _STATES.get),
        "ca_state": Item(1, "B", _CA_STATES.get),
        "retransmits": Item(2, "B"),
        "probes": Item(3, "B"),
        "backoff": Item(4, "B"),
        "options": Item(5, "B", TCPOptions),
        "snd_wscale": Item(6, "B", bits(*_bits(order, 0, 4))),
        "rcv_wscale": Item(6, "B", bits(*_bits(order, 4, 4))),
        "delivery_rate_app_limited": _flag(order, 0),
        "fastopen_client_fail": Item(7, "B", bits(*_bits(order, 1, 2)), needs=fastopen),
    }


_BODY = {
    "rto": Item(8, "I", MICRO),
    "ato": Item(12, "I", MICRO),
    "snd_mss": Item(16, "I"),
    "rcv_mss": Item(20, "I"),
    "unacked": Item(24, "I"),
    "sacked": Item(28, "I"),
    "lost": Item(32, "I"),
    "retrans": Item(36, "I"),
    "fackets": Item(40, "I"),
    "last_data_sent": Item(44, "I", MILLI),
    "last_ack_sent": Item(48, "I", MILLI),
    "last_data_recv": Item(52, "I", MILLI),
    "last_ack_recv": Item(56, "I", MILLI),
    "pmtu": Item(60, "I"),
    "rcv_ssthresh": Item(64, "I"),
    "rtt": Item(68, "I", none_if(0, MICRO)),  # a sample is never 0
    "rttvar": Item(72, "I", MICRO),
    "snd_ssthresh": Item(76, "I", none_if(_NO_THRESHOLD)),
    "snd_cwnd": Item(80, "I"),
    "advmss": Item(84, "I"),
    "reordering": Item(88, "I"),
    "rcv_rtt": Item(92, "I", none_if(0, MICRO)),
    "rcv_space": Item(96, "I"),
    "total_retrans": Item(100, "I"),
    "pacing_rate": Item(104, "Q", none_if(_NO_LIMIT)),
    "max_pacing_rate": Item(112, "Q", none_if(_NO_LIMIT)),
    "bytes_acked": Item(120, "Q"),
    "bytes_received": Item(128, "Q"),
    "segs_out": Item(136, "I"),
    "segs_in": Item(140, "I"),
    "notsent_bytes": Item(144, "I"),
    "min_rtt": Item(148, "I", none_if(_NO_SAMPLE, MICRO)),
    "data_segs_in": Item(152, "I"),
    "data_segs_out": Item(156, "I"),
    "delivery_rate": Item(160, "Q"),
    "busy_time": Item(168, "Q", MICRO),
    "rwnd_limited": Item(176, "Q", MICRO),
    "sndbuf_limited": Item(184, "Q", MICRO),
    "delivered": Item(192, "I"),
    "delivered_ce": Item(196, "I"),
    "bytes_sent": Item(200, "Q"),
    "bytes_retrans": Item(208, "Q"),
    "dsack_dups": Item(216, "I"),
    "reord_seen": Item(220, "I"),
    "rcv_ooopack": Item(224, "I"),
    "snd_wnd": Item(228, "I"),
    "rcv_wnd": Item(232, "I"),
    "rehash": Item(236, "I"),
    "total_rto": Item(240, "H"),
    "total_rto_recoveries": Item(242, "H"),
    "total_rto_time": Item(244, "I", MILLI),
    "received_ce": Item(248, "I"),
    "delivered_e1_bytes": Item(252, "I"),
    "delivered_e0_bytes": Item(256, "I"),
    "delivered_ce_bytes": Item(260, "I"),
    "received_e1_bytes": Item(264, "I"),
    "received_e0_bytes": Item(268, "I"),
    "received_ce_bytes": Item(272, "I"),
}


def _tail(order: str) -> dict[str, Item]:
    """Return the word at offset 276, as of 7.0."""

    def item(first: int, width: int) -> Item:
        return Item(276, "I", bits(*_bits(order, first, width, 32)))

    return {
        "ecn_mode": item(0, 2),
        "accecn_opt_seen": item(2, 2),
        "accecn_fail_mode": item(4, 4),
        "options2": item(8, 24),
    }


def _layout(name: str, order: str, *, fastopen: int = _LINUX_5_5, tail: bool = False) -> Layout:
    items = _head(order, fastopen) | _BODY
    if not tail:
        # Present at no length, but known by name: as_dict() has the same keys on every kernel.
        never = {field: item._replace(needs=sys.maxsize) for field, item in _tail(order).items()}
        return Layout(name, __name__, "Linux", order, items | never)
    return Layout(name, __name__, "Linux", order, items | _tail(order))


LITTLE = _layout("LITTLE", "<", fastopen=_LINUX_6_2)
LITTLE_5_5 = _layout("LITTLE_5_5", "<")
LITTLE_7 = _layout("LITTLE_7", "<", tail=True)
BIG = _layout("BIG", ">", fastopen=_LINUX_6_2)
BIG_5_5 = _layout("BIG_5_5", ">")
BIG_7 = _layout("BIG_7", ">", tail=True)

_LAYOUTS = {
    "little": (((7, 0), LITTLE_7), ((5, 5), LITTLE_5_5), ((0, 0), LITTLE)),
    "big": (((7, 0), BIG_7), ((5, 5), BIG_5_5), ((0, 0), BIG)),
}
"""Each with its first release, the latest first."""


def layout_of(release: str, byteorder: str = sys.byteorder) -> Layout:
    """Return the layout of a kernel.

    The release decides two things only. Before 7.0 the four fields at offset 276 are None: decoded
    like 7.0's, those of a 6.18 kernel would say that ECN is off. Before 5.5 `fastopen_client_fail`
    is None, where 5.4's padding would say "unspecified". A vendor kernel with an older release
    number and the newer structure counts as older: then these fields are None, which is never
    wrong.

    Args:
        release: as in ``os.uname().release``, such as ``6.18.44-generic``.
        byteorder: ``little`` or ``big``.
    """
    found = re.match(r"(\d+)(?:\.(\d+))?", release)
    version = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    return next(layout for first, layout in _LAYOUTS[byteorder] if version >= first)
