"""The fields that only other systems have, under their kernels' names in snake case.

A field has the same unit on every system: BSD, macOS and Windows count the congestion window in
bytes where Linux counts segments, so theirs has a name of its own here. The code has not been run
on any of these systems: the layouts are from their headers.
"""

from __future__ import annotations

from .field import Field

__all__ = ["OtherFields"]


class OtherFields:
    """The fields that Linux does not have, or has in another unit."""

    __slots__ = ()

    snd_cwnd_bytes = Field[int]("bytes", "the congestion window (macOS, BSD, Windows)")
    snd_ssthresh_bytes = Field[int]("bytes", "the slow-start threshold (macOS, BSD)")

    snd_bwnd = Field[int]("bytes", "the bandwidth-limited window (FreeBSD, NetBSD)")
    snd_nxt = Field[int]("number", "the next sequence number to send (FreeBSD, NetBSD)")
    rcv_nxt = Field[int]("number", "the next sequence number expected (FreeBSD, NetBSD)")
    toe_tid = Field[int]("number", "the id of an offloaded connection (FreeBSD, NetBSD)")
    snd_rexmitpack = Field[int]("segments", "retransmitted (FreeBSD, NetBSD)")
    snd_zerowin = Field[int]("count", "zero windows that we sent (FreeBSD, NetBSD)")
    total_tlp = Field[int]("count", "tail loss probes sent (FreeBSD 14)")
    total_tlp_bytes = Field[int]("bytes", "sent in tail loss probes (FreeBSD 14)")
    snd_una = Field[int]("number", "the first sequence number not acknowledged (FreeBSD 14)")
    snd_max = Field[int]("number", "the highest sequence number sent (FreeBSD 14)")
    rcv_numsacks = Field[int]("count", "distinct SACK blocks now held (FreeBSD 14)")
    rcv_adv = Field[int]("number", "the highest sequence number we advertised (FreeBSD 14)")
    dupacks = Field[int]("count", "duplicate acknowledgements in a row (FreeBSD 14)")

    flags = Field[int]("mask", "1 in loss recovery, 2 reordering was detected (macOS)")
    snd_sbbytes = Field[int]("bytes", "in the send buffer, including those in flight (macOS)")
    rttcur = Field[float]("s", "the latest round-trip time, not smoothed (macOS)")
    tfo = Field[int]("mask", "the TCP Fast Open bits of tcp_connection_info (macOS)")
    txpackets = Field[int]("segments", "sent (macOS)")
    txbytes = Field[int]("bytes", "sent (macOS)")
    rxpackets = Field[int]("segments", "arrived (macOS)")
    rxbytes = Field[int]("bytes", "arrived (macOS)")
    rxoutoforderbytes = Field[int]("bytes", "arrived out of order (macOS)")

    connection_time = Field[float]("s", "since the connection was established (Windows)")
    timestamps_enabled = Field[bool]("flag", "TCP timestamps are on (Windows)")
    bytes_in_flight = Field[int]("bytes", "sent and not acknowledged (Windows)")
    rcv_buf = Field[int]("bytes", "the receive buffer, as autotuned (Windows)")
    bytes_out = Field[int]("bytes", "sent (Windows)")
    bytes_in = Field[int]("bytes", "arrived (Windows)")
    bytes_reordered = Field[int]("bytes", "arrived out of order (Windows)")
    fast_retrans = Field[int]("count", "fast retransmits (Windows)")
    dup_acks_in = Field[int]("count", "duplicate acknowledgements that arrived (Windows)")
    timeout_episodes = Field[int]("count", "retransmission timeout episodes (Windows)")
    syn_retrans = Field[int]("count", "SYNs retransmitted (Windows)")
    snd_lim_trans_rwin = Field[int]("count", "times the peer's window became the limit (Windows)")
    snd_lim_time_rwin = Field[float]("s", "limited by the peer's window (Windows)")
    snd_lim_bytes_rwin = Field[int]("bytes", "sent while so limited (Windows)")
    snd_lim_trans_cwnd = Field[int](
        "count", "times the congestion window became the limit (Windows)"
    )
    snd_lim_time_cwnd = Field[float]("s", "limited by the congestion window (Windows)")
    snd_lim_bytes_cwnd = Field[int]("bytes", "sent while so limited (Windows)")
    snd_lim_trans_snd = Field[int]("count", "times the application became the limit (Windows)")
    snd_lim_time_snd = Field[float]("s", "limited by the application (Windows)")
    snd_lim_bytes_snd = Field[int]("bytes", "sent while so limited (Windows)")
