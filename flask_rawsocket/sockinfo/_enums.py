"""The named values that a kernel answers with; knows no socket and no layout."""

from __future__ import annotations

from enum import IntFlag, StrEnum

__all__ = ["CongestionState", "PeerStatus", "TCPOptions", "TCPState"]


class TCPState(StrEnum):
    """The state of a TCP connection (RFC 9293, section 3.3.2), one enum for every system.

    Each system numbers the states its own way; the layouts translate. A ``StrEnum``, so that a
    value is its own name in JSON, in a log line and in a template.
    """

    ESTABLISHED = "ESTABLISHED"
    SYN_SENT = "SYN_SENT"
    SYN_RECV = "SYN_RECV"
    FIN_WAIT1 = "FIN_WAIT1"
    FIN_WAIT2 = "FIN_WAIT2"
    TIME_WAIT = "TIME_WAIT"
    CLOSE = "CLOSE"
    CLOSE_WAIT = "CLOSE_WAIT"
    LAST_ACK = "LAST_ACK"
    LISTEN = "LISTEN"
    CLOSING = "CLOSING"


class CongestionState(StrEnum):
    """Where Linux' loss recovery stands (``enum tcp_ca_state`` of ``linux/tcp.h``)."""

    OPEN = "OPEN"
    """Nothing suspicious."""
    DISORDER = "DISORDER"
    """Duplicate or selective acknowledgements arrived; not yet counted as a loss."""
    CWR = "CWR"
    """The window was reduced, by an ECN mark or a local queue, without a loss."""
    RECOVERY = "RECOVERY"
    """Fast retransmit is under way."""
    LOSS = "LOSS"
    """A retransmission timeout fired, or the peer dropped what it had acknowledged."""


class TCPOptions(IntFlag):
    """What both ends agreed on (``TCPI_OPT_*`` of ``linux/tcp.h``); unknown bits are kept."""

    TIMESTAMPS = 1
    SACK = 2
    WSCALE = 4
    """Only with this bit do `snd_wscale` and `rcv_wscale` mean something."""
    ECN = 8
    ECN_SEEN = 16
    SYN_DATA = 32
    USEC_TS = 64
    """Timestamps in microseconds; Linux 6.7."""
    TFO_CHILD = 128
    """The connection began with TCP Fast Open; Linux 6.16."""


class PeerStatus(StrEnum):
    """What is known of the other end without reading, writing or clearing anything.

    Unread data does not hide a FIN: the status speaks of the connection, not of the receive queue.
    """

    OPEN = "OPEN"
    """No end of stream and no error has arrived. (A peer that lost its power is still OPEN.)"""
    FIN_RECEIVED = "FIN_RECEIVED"
    """The peer will send no more. Over TCP it may have closed, or only have half-closed: nobody
    can tell until we write. Over a UNIX socket it half-closed."""
    CLOSED = "CLOSED"
    """Both directions are over. Over a UNIX socket: the peer closed."""
    RESET = "RESET"
    """The connection was torn down by a reset or a timeout; what was queued is lost."""
