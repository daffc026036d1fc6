"""`GreenletListener`: a listener whose connections are served by greenlets."""

from __future__ import annotations

from .._sockets.listener import Listener
from .sockets import GreenletSocket

__all__ = ["GreenletListener"]


class GreenletListener(Listener):
    """A `Listener` that makes sockets of gevent's of what it accepts."""

    socket_class = GreenletSocket
