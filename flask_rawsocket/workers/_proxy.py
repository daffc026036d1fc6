"""What a PROXY protocol header says, for all requests of its connection.

The tracked socket has read it before gunicorn's parser sees a byte, by gunicorn's own settings.
What the parser is left to do is nothing: it knows headers of some kinds only, and what they say in
the first request only (gunicorn issues 899 and 3451).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gunicorn.http.errors import ForbiddenProxyRequest, InvalidProxyLine

from .._sockets.proxied import expecting
from .._sockets.proxy_protocol import ProxyForbiddenError, ProxyHeaderError
from ._trust import is_allowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.address import SocketAddress
    from .._connection.connection import Connection
    from .._sockets.proxy_protocol import ProxyParser

__all__ = ["in_words_of_gunicorn", "note_proxy", "proxy_parser_for"]


def proxy_parser_for(cfg: Any) -> Callable[[SocketAddress], ProxyParser]:
    """Return what makes the parser of a new connection, by the address of its peer.

    Args:
        cfg: gunicorn's settings; ``proxy_protocol`` is not off.
    """

    def is_trusted(address: SocketAddress) -> bool:
        # The test of gunicorn's Request.proxy_protocol_access_check.
        return not isinstance(address, tuple) or is_allowed(
            address[0], cfg.proxy_allow_ips, cfg.proxy_allow_networks()
        )

    return expecting(cfg.proxy_protocol, is_trusted)


def note_proxy(connection: Connection, req: Any) -> None:
    """Let `req` know what the header of its connection says.

    gunicorn makes REMOTE_ADDR and its like of it. Where the header names no address, they stay the
    connection's own.
    """
    header = connection.proxy
    if header is None or header.source is None or header.destination is None:
        return
    req.proxy_protocol_info = {
        "proxy_protocol": header.protocol,
        "client_addr": header.source[0],
        "client_port": header.source[1],
        "proxy_addr": header.destination[0],
        "proxy_port": header.destination[1],
    }


def in_words_of_gunicorn(exc: ProxyHeaderError, host: str) -> Exception:
    """Return the error of gunicorn's that it answers and logs as `exc` is to be.

    Args:
        exc: what is wrong with a header.
        host: the peer's.
    """
    if isinstance(exc, ProxyForbiddenError):
        return ForbiddenProxyRequest(host)
    return InvalidProxyLine(str(exc))
