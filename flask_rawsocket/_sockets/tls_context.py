"""`track_tls`: a server's TLS context, whose sockets are tracked."""

from __future__ import annotations

from ssl import OP_IGNORE_UNEXPECTED_EOF
from typing import TYPE_CHECKING, Any

from .. import sockinfo
from .tls import TrackedSSLSocket

if TYPE_CHECKING:
    import ssl

__all__ = ["track_tls"]


def track_tls(
    context: ssl.SSLContext, made: Any = TrackedSSLSocket, *, suppress_ragged_eofs: bool = True
) -> ssl.SSLContext:
    """Let the sockets that `context` wraps be tracked like those they wrap; return `context`.

    Args:
        context: the server's.
        made: what its sockets are made of: a class of ours, which stands for another one.
        suppress_ragged_eofs: whether its sockets take a FIN without close_notify for an end, as
            Python's do by default. OpenSSL is told so, too: it would answer such a peer, or the
            end of a stream of ours that another thread is reading, with an alert.

    Raises:
        TypeError: the context makes sockets of a class of its own, which could not be.
    """
    usual: Any = context.sslsocket_class
    if usual is not made.stands_for and not issubclass(usual, made):
        if usual.__module__ == "ssl":
            raise TypeError("the SSLContext was made before gevent has patched ssl: make it later")
        raise TypeError(
            f"the SSLContext makes {usual.__qualname__}; derive it from {made.__qualname__}"
        )
    if suppress_ragged_eofs:
        context.options |= OP_IGNORE_UNEXPECTED_EOF
    if usual is made.stands_for:
        context.sslsocket_class = made
        # Here, and not on every call: gunicorn may be given the same context for each connection.
        sockinfo.remember_server_name(context)
    return context
