"""The enums that a kernel's answers are translated to; knows no socket and no layout."""

from __future__ import annotations

from enum import IntFlag, StrEnum

__all__ = ["CongestionState", "PeerStatus", "TCPOptions", "TCPState"]


class TCPState(StrEnum):
    """The state of a TCP connection (RFC 9293, section 3.3.2), one enum for every system.

    Each system numbers the states in its own way; the layouts translate. It is a ``StrEnum``, so
    that JSON, log lines and templates show a state by its name.
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
    """The state of Linux's loss recovery (``enum tcp_ca_state`` of ``linux/tcp.h``)."""

    OPEN = "OPEN"
    """Nothing suspicious."""
    DISORDER = "DISORDER"
    """Duplicate or selective acknowledgements arrived, but do not count as a loss yet."""
    CWR = "CWR"
    """The window was reduced without a loss, because of an ECN mark or a full local queue."""
    RECOVERY = "RECOVERY"
    """Fast retransmit is under way."""
    LOSS = "LOSS"
    """A retransmission timeout fired, or the peer dropped what it had acknowledged."""


class TCPOptions(IntFlag):
    """The options that both ends agreed on (``TCPI_OPT_*`` of ``linux/tcp.h``).

    Unknown bits are kept.
    """

    TIMESTAMPS = 1
    SACK = 2
    WSCALE = 4
    """`snd_wscale` and `rcv_wscale` mean something only if this bit is set."""
    ECN = 8
    ECN_SEEN = 16
    SYN_DATA = 32
    USEC_TS = 64
    """Timestamps in microseconds; Linux 6.7."""
    TFO_CHILD = 128
    """The connection began with TCP Fast Open; Linux 6.16."""


class PeerStatus(StrEnum):
    """What is known of the peer without reading, writing or clearing anything.

    Unread data does not hide a FIN: the status is that of the connection, not of its receive queue.
    """

    OPEN = "OPEN"
    """No end of stream and no error has arrived. (A peer that lost power is still OPEN.)"""
    FIN_RECEIVED = "FIN_RECEIVED"
    """The peer will send nothing more. Over TCP it has closed or half-closed; which of the two
    cannot be told until we write. Over a UNIX socket it has half-closed."""
    CLOSED = "CLOSED"
    """Both directions have ended. Over a UNIX socket: the peer has closed."""
    RESET = "RESET"
    """A reset or a timeout ended the connection; queued data is lost."""
