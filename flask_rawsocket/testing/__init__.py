"""What an application's own tests need: clients with a real connection, and a server of ours.

The fixtures of the pytest plugin make these objects; where there is no pytest, make them yourself.
"""

from __future__ import annotations

from ._client import RawSocketClient
from ._peer import Peer, wait_for
from ._running import Running
from ._server import RawSocketServer
from ._socket_client import SocketClient

__all__ = ["Peer", "RawSocketClient", "RawSocketServer", "Running", "SocketClient", "wait_for"]
