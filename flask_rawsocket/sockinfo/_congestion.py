"""A congestion control algorithm's name and what it reports; makes no system call.

The answer to ``TCP_CC_INFO`` does not name its structure, and those of Vegas and DCTCP have the
same length, so the decoder is chosen by the algorithm's name. Structures: ``linux/inet_diag.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

__all__ = ["BBRInfo", "DCTCPInfo", "VegasInfo", "decode_congestion", "encode_name"]

_VEGAS = Struct("=4I")
_DCTCP = Struct("=2H3I")
_BBR = Struct("=5I")

_LIKE_VEGAS = frozenset({"vegas", "illinois", "yeah", "westwood", "nv"})
"""The algorithms that answer with the structure of Vegas, by the sources in ``net/ipv4``."""

_LIKE_DCTCP = frozenset({"dctcp", "dctcp-reno"})
"""DCTCP changes its name if ECN was not negotiated, and answers all the same (``tcp_dctcp.c``)."""

_NO_SAMPLE = (0xFFFFFFFF, 0x7FFFFFFF)
"""The values of a round-trip time not measured yet: BBR's and NV's, and that of the others."""

_MICRO = 1_000_000
_BBR_UNIT = 256  # the kernel's gains are fixed-point numbers with eight fractional bits


@dataclass(frozen=True, slots=True)
class BBRInfo:
    """The model that BBR has of the path (Linux 4.9)."""

    bw: int
    """The estimated bandwidth, in bytes per second."""
    min_rtt: float | None
    """The smallest round-trip time in BBR's window, in seconds; None without a sample."""
    pacing_gain: float
    """The pacing rate as a multiple of `bw`."""
    cwnd_gain: float
    """The congestion window as a multiple of the bandwidth-delay product."""


@dataclass(frozen=True, slots=True)
class VegasInfo:
    """What TCP Vegas measured; Illinois, NV, Westwood and YeAH use the same structure."""

    enabled: bool
    """Whether the algorithm is active now."""
    rttcnt: int
    """How many samples were taken in the current round trip."""
    rtt: float | None
    """The round-trip time that the algorithm works with, in seconds; None without a sample.

    With Vegas and YeAH this is the smallest of the whole connection; with Illinois the mean of the
    `rttcnt` samples of the current round trip, and None while there are none."""
    minrtt: float | None
    """The smallest round-trip time, with some algorithms only of late, in seconds; None without a
    sample."""


@dataclass(frozen=True, slots=True)
class DCTCPInfo:
    """The state of DCTCP."""

    enabled: bool
    """Whether ECN was negotiated, so that DCTCP is active. Otherwise it behaves like Reno, the
    algorithm's name is ``dctcp-reno``, and the other fields are 0."""
    ce_state: int
    """1 if the last segment that arrived was marked."""
    alpha: int
    """The fraction of marked bytes, in 1/1024."""
    ab_ecn: int
    """Acknowledged bytes in this window that were marked."""
    ab_tot: int
    """Acknowledged bytes in this window."""


def decode_congestion(name: str, raw: bytes) -> BBRInfo | VegasInfo | DCTCPInfo | None:
    """Return what an algorithm reported.

    Args:
        name: the algorithm's name.
        raw: the answer; of one longer than expected (BBRv3's, say) the known part is read.

    Returns:
        None if the algorithm reports nothing, as Reno and Cubic do, or is not known here.
    """
    if name.startswith("bbr") and len(raw) >= _BBR.size:
        low, high, min_rtt, pacing, cwnd = _BBR.unpack_from(raw)
        return BBRInfo(
            bw=high << 32 | low,
            min_rtt=_seconds(min_rtt),
            pacing_gain=pacing / _BBR_UNIT,
            cwnd_gain=cwnd / _BBR_UNIT,
        )
    if name in _LIKE_VEGAS and len(raw) >= _VEGAS.size:
        enabled, rttcnt, rtt, minrtt = _VEGAS.unpack_from(raw)
        # Illinois reports the mean of the current round trip: 0 until it has a sample.
        return VegasInfo(bool(enabled), rttcnt, _seconds(rtt) or None, _seconds(minrtt))
    if name in _LIKE_DCTCP and len(raw) >= _DCTCP.size:
        enabled, ce_state, alpha, ab_ecn, ab_tot = _DCTCP.unpack_from(raw)
        return DCTCPInfo(bool(enabled), ce_state, alpha, ab_ecn, ab_tot)
    return None


def encode_name(name: str) -> bytes:
    """Return the name of an algorithm as a system call takes it.

    Raises:
        TypeError: the name is not a str.
        ValueError: it contains a NUL, which a kernel would take for its end.
    """
    if not isinstance(name, str):
        raise TypeError(f"congestion: {name!r} is not a str")
    if "\0" in name:
        raise ValueError(f"congestion: {name!r} has a NUL in it")
    return name.encode(errors="replace")


def _seconds(microseconds: int) -> float | None:
    return None if microseconds in _NO_SAMPLE else microseconds / _MICRO
