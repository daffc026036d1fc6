"""What the kernel knows of a socket, as frozen values.

Pure functions over a ``socket.socket`` or an ``ssl.SSLSocket``; they know nothing of Connection.
One file per operating system holds them, with the same signatures in each, and this is the only
place that asks which system it is. Only Linux was run: what the files of the other systems do was
read off headers and documentation, and their decoders were tested with bytes built from those.

All of them raise `ConnectionClosedError` for a socket that was closed, and `UnsupportedError`
or ``PermissionError``, naming the operation, where the system, the address family or the privilege
does not allow it; none ever answers with zeros instead.
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
    "peer_status",
    "queues",
    "remember_server_name",
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
peer_status = _system.peer_status
queues = _system.queues
save_syn = _system.save_syn
saved_syn = _system.saved_syn
set_congestion = _system.set_congestion
set_dead_peer_timeout = _system.set_dead_peer_timeout
tcp_info = _system.tcp_info


class Options(OptionSet):
    """The options of a socket as typed attributes, on this system.

    They are read from the socket and written to it at every access.

    Raises:
        UnsupportedError: this system or this kind of socket has no such option.
        PermissionError: a privilege is missing (`mark`, a `priority` above 6).
        ConnectionClosedError: the socket has been closed.
        ConnectionBrokenError: the connection is over, and the system refuses for that reason.
        TypeError: what was set is no number, or None for an option that has no "not set".
        ValueError: the number does not fit.
    """

    __slots__ = ()

    _table = _system.OPTIONS
    _system = _system.SYSTEM
