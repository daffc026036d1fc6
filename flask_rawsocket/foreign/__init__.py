"""Servers that are not ours: their sockets, found in the environ, and the watch of a peer there.

A Connection made here is not managed: no server of ours sees it open, go idle or close, so it is in
no map and no hook hears of it. What is seen is the request, by a middleware, and its end.
"""

from __future__ import annotations

from ._connections import ForeignConnection, find
from ._nameless import no_socket
from ._requests import serve

__all__ = ["ForeignConnection", "find", "no_socket", "serve"]
