"""The BSDs' ``struct tcp_info``, by offset; from their ``netinet/tcp.h``, never run on a BSD.

It was modelled on Linux's of 2005, but most of its members were never filled: they are absent here.
Times are in microseconds, windows in bytes. The byte order is the machine's, as BSDs run on both.
"""

from __future__ import annotations

import sys

from .._enums import TCPOptions
from .item import MICRO, Item, bits
from .tcps import TCPS
from .value import Layout

__all__ = ["FREEBSD", "FREEBSD_14", "NETBSD", "OPENBSD", "layout_of"]


def _options(value: int) -> TCPOptions:
    """Decode ``TCPI_OPT_*``: Linux's four lowest bits; the fifth is TOE here, and not ECN_SEEN."""
    return TCPOptions(value & 0x0F)


_LOW, _HIGH = (0, 4) if sys.byteorder == "little" else (4, 0)
"""A C bitfield of two nibbles begins at the other end on a big-endian machine."""

_COMMON = {
    "state": Item(0, "B", TCPS.get),
    "options": Item(5, "B", _options),
    "snd_wscale": Item(6, "B", bits(_LOW, 4)),
    "rcv_wscale": Item(6, "B", bits(_HIGH, 4)),
    "rto": Item(8, "I", MICRO),
    "snd_mss": Item(16, "I"),
    "rcv_mss": Item(20, "I"),
    "last_data_recv": Item(52, "I", MICRO),
    "rtt": Item(68, "I", MICRO),
    "rttvar": Item(72, "I", MICRO),
    "snd_ssthresh_bytes": Item(76, "I"),
    "snd_cwnd_bytes": Item(80, "I"),
    "rcv_space": Item(96, "I"),
    "snd_wnd": Item(100, "I"),
}
_TO_ZEROWIN = {
    "snd_bwnd": Item(104, "I"),
    "snd_nxt": Item(108, "I"),
    "rcv_nxt": Item(112, "I"),
    "toe_tid": Item(116, "I"),
    "snd_rexmitpack": Item(120, "I"),
    "rcv_ooopack": Item(124, "I"),
    "snd_zerowin": Item(128, "I"),
}
_FROM_14 = {
    "delivered_ce": Item(132, "I"),
    "received_ce": Item(136, "I"),
    "total_tlp": Item(164, "I"),
    "total_tlp_bytes": Item(168, "Q"),
    "snd_una": Item(176, "I"),
    "snd_max": Item(180, "I"),
    "rcv_numsacks": Item(184, "I"),
    "rcv_adv": Item(188, "I"),
    "dupacks": Item(192, "I"),
}
"""These took the place of padding: the answer has 236 bytes on FreeBSD 13, and on 14 no more than
alignment adds, so that its length does not tell whether they are filled.

Not here: ``tcpi_rttmin`` at 196, which makes the answer 256 bytes long (FreeBSD 15). It is a plain
copy of ``t_rttlow``, which is in ticks or milliseconds with the default TCP stack, and in
microseconds with RACK (``tcp_input.c``, ``tcp_stacks/rack.c``): its unit is not known."""
_NEVER_BEFORE_14 = {name: item._replace(needs=sys.maxsize) for name, item in _FROM_14.items()}

FREEBSD = Layout("FREEBSD", __name__, "FreeBSD", "=", _COMMON | _TO_ZEROWIN | _NEVER_BEFORE_14)
FREEBSD_14 = Layout("FREEBSD_14", __name__, "FreeBSD", "=", _COMMON | _TO_ZEROWIN | _FROM_14)
NETBSD = Layout("NETBSD", __name__, "NetBSD", "=", _COMMON | _TO_ZEROWIN)

OPENBSD = Layout(
    "OPENBSD",
    __name__,
    "OpenBSD",
    "=",
    {name: item for name, item in _COMMON.items() if name != "snd_wnd"}
    | {"snd_wscale": Item(6, "B"), "rcv_wscale": Item(7, "B")},
)
"""OpenBSD has a byte for each window scale and no bandwidth window. It fills `snd_wnd` and what
follows for privileged processes only; others would read zeros, so these are absent here."""


def layout_of(system: str, release: str) -> Layout:
    """Return the layout of a BSD.

    Args:
        system: as in ``os.uname().sysname``; an unknown one is treated as FreeBSD.
        release: as in ``os.uname().release``: FreeBSD before 14 does not fill the fields for ECN
            and tail loss probes and those after them, and the length does not tell.
    """
    if system == "NetBSD":
        return NETBSD
    if system == "OpenBSD":
        return OPENBSD
    major = release.partition(".")[0]
    return FREEBSD_14 if major.isdecimal() and int(major) >= 14 else FREEBSD  # noqa: PLR2004
