"""The fields of Linux's ``struct tcp_info``: unit, meaning, first release.

Names are the kernel's without ``tcpi_``. Times are in seconds here, whatever unit the kernel uses.
Sources: ``include/uapi/linux/tcp.h`` up to 7.0; the releases, from the history of iproute2's copy.
"""

from __future__ import annotations

from .._enums import CongestionState, TCPOptions, TCPState
from .field import Field

__all__ = ["LinuxFields"]

_FIRST = "2.6.9 or before"


class LinuxFields:
    """The fields of Linux; other systems fill those that have the same meaning and unit there."""

    __slots__ = ()

    state = Field[TCPState]("TCPState", "the state of the connection", since=_FIRST)
    ca_state = Field[CongestionState]("CongestionState", "where loss recovery stands", since=_FIRST)
    retransmits = Field[int](
        "count", "consecutive timeouts of the segment now being retransmitted", since=_FIRST
    )
    probes = Field[int]("count", "keepalive or zero-window probes not answered yet", since=_FIRST)
    backoff = Field[int]("count", "how often the timeout has been doubled", since=_FIRST)
    options = Field[TCPOptions]("TCPOptions", "what both ends agreed on", since=_FIRST)
    snd_wscale = Field[int](
        "shift", "the peer's window scale; only with options.WSCALE", since=_FIRST
    )
    rcv_wscale = Field[int]("shift", "our window scale; only with options.WSCALE", since=_FIRST)
    delivery_rate_app_limited = Field[bool](
        "flag", "delivery_rate was measured while we wrote too little to fill the path", since="4.9"
    )
    fastopen_client_fail = Field[int](
        "number",
        "why Fast Open failed: 0 unspecified, 1 no cookie, 2 data not acked, 3 SYN retransmitted",
        since="5.5",
    )
    rto = Field[float]("s", "the retransmission timeout", since=_FIRST)
    ato = Field[float]("s", "the delayed-ACK timeout; 0.0 before the first data", since=_FIRST)
    snd_mss = Field[int]("bytes", "the largest segment that we send", since=_FIRST)
    rcv_mss = Field[int]("bytes", "the largest segment that the peer seems to send", since=_FIRST)
    unacked = Field[int](
        "segments", "sent, not acknowledged; of a listener: its accept queue now", since=_FIRST
    )
    sacked = Field[int](
        "segments", "selectively acknowledged; of a listener: its backlog", since=_FIRST
    )
    lost = Field[int]("segments", "considered lost and not acknowledged since", since=_FIRST)
    retrans = Field[int]("segments", "retransmitted and not acknowledged yet", since=_FIRST)
    fackets = Field[int]("segments", "0 since FACK was removed from the kernel", since=_FIRST)
    last_data_sent = Field[float](
        "s",
        "since we last sent data, or since the connection was established if we have sent none; "
        "grows in steps of the kernel's clock",
        since=_FIRST,
    )
    last_ack_sent = Field[float]("s", "never filled by any kernel: always 0.0", since=_FIRST)
    last_data_recv = Field[float](
        "s",
        "since data last arrived, or since the connection was established if none has; on the BSDs "
        "since any segment arrived",
        since=_FIRST,
    )
    last_ack_recv = Field[float]("s", "since an acknowledgement last arrived", since=_FIRST)
    pmtu = Field[int]("bytes", "the path MTU in use", since=_FIRST)
    rcv_ssthresh = Field[int]("bytes", "the largest window that we may offer now", since=_FIRST)
    rtt = Field[float](
        "s", "the smoothed round-trip time; None without a sample (Linux)", since=_FIRST
    )
    rttvar = Field[float](
        "s",
        "the mean deviation of the round-trip time; assumed until the first",
        since=_FIRST,
    )
    snd_ssthresh = Field[int](
        "segments", "the slow-start threshold; None while there is none", since=_FIRST
    )
    snd_cwnd = Field[int]("segments", "the congestion window", since=_FIRST)
    advmss = Field[int]("bytes", "the segment size that we advertised", since=_FIRST)
    reordering = Field[int](
        "segments", "how much reordering is tolerated before it counts as loss", since=_FIRST
    )
    rcv_rtt = Field[float](
        "s", "the round-trip time as the receiver sees it; None while unmeasured", since=_FIRST
    )
    rcv_space = Field[int](
        "bytes", "what the application reads in one round trip (autotuning)", since=_FIRST
    )
    total_retrans = Field[int]("segments", "retransmitted in all", since="2.6.10")
    pacing_rate = Field[int]("bytes/s", "the pacing rate; None: unlimited", since="3.15")
    max_pacing_rate = Field[int](
        "bytes/s", "the upper bound set with options.pacing_rate; None: not set", since="3.15"
    )
    bytes_acked = Field[int](
        "bytes",
        "acknowledged by the peer; our FIN counts 1, and our SYN if we opened the connection",
        since="4.1",
    )
    bytes_received = Field[int]("bytes", "arrived in order; the peer's FIN counts 1", since="4.1")
    segs_out = Field[int]("segments", "sent, retransmissions and empty ones included", since="4.2")
    segs_in = Field[int]("segments", "arrived, empty ones included", since="4.2")
    notsent_bytes = Field[int](
        "bytes", "written by us and not sent yet; after a reset: thrown away unsent", since="4.6"
    )
    min_rtt = Field[float](
        "s", "the smallest recent round-trip time; None without a sample", since="4.6"
    )
    data_segs_in = Field[int]("segments", "arrived with data", since="4.6")
    data_segs_out = Field[int]("segments", "sent with data, retransmissions included", since="4.6")
    delivery_rate = Field[int]("bytes/s", "the latest measured rate of delivery", since="4.9")
    busy_time = Field[float]("s", "spent with data in flight or waiting", since="4.10")
    rwnd_limited = Field[float]("s", "of busy_time: held up by the peer's window", since="4.10")
    sndbuf_limited = Field[float]("s", "of busy_time: held up by our send buffer", since="4.10")
    delivered = Field[int](
        "segments", "delivered to the peer, retransmissions included", since="4.18"
    )
    delivered_ce = Field[int](
        "segments", "of delivered: reported as ECN-marked; FreeBSD since 14", since="4.18"
    )
    bytes_sent = Field[int]("bytes", "data sent, retransmissions included", since="4.19")
    bytes_retrans = Field[int]("bytes", "data retransmitted", since="4.19")
    dsack_dups = Field[int]("count", "duplicates that the peer reported by DSACK", since="4.19")
    reord_seen = Field[int]("count", "acknowledgements that showed reordering", since="4.19")
    rcv_ooopack = Field[int]("segments", "arrived out of order", since="5.4")
    snd_wnd = Field[int]("bytes", "the window that the peer offers, scaled", since="5.4")
    rcv_wnd = Field[int]("bytes", "the window that we offer, scaled", since="6.2")
    rehash = Field[int]("count", "times another path was tried with a new flow hash", since="6.2")
    total_rto = Field[int]("count", "retransmission timeouts in all", since="6.7")
    total_rto_recoveries = Field[int]("count", "recoveries after such timeouts", since="6.7")
    total_rto_time = Field[float]("s", "spent in such recoveries", since="6.7")
    received_ce = Field[int]("segments", "arrived ECN-marked; FreeBSD since 14", since="6.18")
    delivered_e1_bytes = Field[int]("bytes", "received by the peer as ECT(1)", since="6.18")
    delivered_e0_bytes = Field[int]("bytes", "received by the peer as ECT(0)", since="6.18")
    delivered_ce_bytes = Field[int]("bytes", "received by the peer as CE", since="6.18")
    received_e1_bytes = Field[int]("bytes", "arrived as ECT(1)", since="6.18")
    received_e0_bytes = Field[int]("bytes", "arrived as ECT(0)", since="6.18")
    received_ce_bytes = Field[int]("bytes", "arrived as CE", since="6.18")
    ecn_mode = Field[int](
        "number", "0 disabled, 1 RFC 3168, 2 AccECN, 3 still being negotiated", since="7.0"
    )
    accecn_opt_seen = Field[int](
        "number", "AccECN option: 0 not seen, 1 empty, 2 with counters, 3 failed", since="7.0"
    )
    accecn_fail_mode = Field[int](
        "mask",
        "where AccECN failed: 1 ACE sent, 2 ACE received, 4 option sent, 8 option received",
        since="7.0",
    )
    options2 = Field[int]("mask", "further options; no bit is named yet", since="7.0")
