"""What the kernel knows about a socket, as frozen values.

Pure functions of a ``socket.socket`` or an ``ssl.SSLSocket``; they know nothing of `Connection`.
Each operating system has one file of them, with the same signatures, and only this file asks which
system it is running on. Only the Linux file has been run: the others were written from headers and
documentation, and their decoders are tested with bytes built from those.

Every function raises `ConnectionClosedError` for a closed socket, and `UnsupportedError` or
``PermissionError``, naming the operation, where the system, the address family or a missing
privilege rules it out. None of them returns zeros instead.
"""

from __future__ import annotations

import sys

from ._congestion import BBRInfo, DCTCPInfo, VegasInfo
from ._enums import CongestionState, PeerStatus, TCPOptions, TCPState
from ._options import OptionSet
from ._tcp_info.field import FieldInfo
from ._tcp_info.table import FieldRow, field_table
from ._tcp_info.value import TCPInfo
from ._tls import TLSInfo, remember_server_name, tls_info
from ._values import PeerCredentials, Queues

if sys.platform == "linux":
    from ._systems import linux as _system
elif sys.platform == "darwin":
    from ._systems import darwin as _system
elif sys.platform == "win32":
    from ._systems import windows as _system
elif sys.platform.startswith(("freebsd", "netbsd", "openbsd")):
    from ._systems import bsd as _system
else:
    from ._systems import fallback as _system

__all__ = [
    "BBRInfo",
    "CongestionState",
    "DCTCPInfo",
    "FieldInfo",
    "FieldRow",
    "Options",
    "PeerCredentials",
    "PeerStatus",
    "Queues",
    "TCPInfo",
    "TCPOptions",
    "TCPState",
    "TLSInfo",
    "VegasInfo",
    "abort",
    "congestion",
    "congestion_info",
    "cookie",
    "field_table",
    "original_destination",
    "peer_credentials",
    "peer_pidfd",
    "peer_security_label",
    "peer_status",
    "queues",
    "remember_server_name",
    "reset",
    "save_syn",
    "saved_syn",
    "set_congestion",
    "set_dead_peer_timeout",
    "tcp_info",
    "tls_info",
]

abort = _system.abort
congestion = _system.congestion
congestion_info = _system.congestion_info
cookie = _system.cookie
original_destination = _system.original_destination
peer_credentials = _system.peer_credentials
peer_pidfd = _system.peer_pidfd
peer_security_label = _system.peer_security_label
peer_status = _system.peer_status
queues = _system.queues
reset = _system.reset
save_syn = _system.save_syn
saved_syn = _system.saved_syn
send_queue = _system.send_queue
set_congestion = _system.set_congestion
set_dead_peer_timeout = _system.set_dead_peer_timeout
tcp_info = _system.tcp_info


class Options(OptionSet):
    """The options of a socket as typed attributes, on this system.

    Each access reads from the socket or writes to it.

    Raises:
        UnsupportedError: this system or this kind of socket does not have the option.
        PermissionError: a privilege is missing (`mark`, a `priority` above 6).
        ConnectionClosedError: the socket has been closed.
        ConnectionBrokenError: the connection is over, and the system refuses for that reason.
        TypeError: the value is not a number, or is None for an option that is always set.
        ValueError: the number is out of range.
    """

    __slots__ = ()

    _table = _system.OPTIONS
    _system = _system.SYSTEM
