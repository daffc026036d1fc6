"""`track_tls`: a server's TLS context, whose sockets are tracked."""

from __future__ import annotations

import ssl

from .. import sockinfo
from .tls import TrackedSSLSocket

__all__ = ["track_tls"]


def track_tls(context: ssl.SSLContext, *, suppress_ragged_eofs: bool = True) -> ssl.SSLContext:
    """Let the sockets that `context` wraps be tracked like those they wrap; return `context`.

    Args:
        context: the server's.
        suppress_ragged_eofs: whether its sockets take a FIN without close_notify for an end, as
            Python's do by default. OpenSSL is told so, too: it would answer such a peer, or the
            end of a stream of ours that another thread is reading, with an alert.

    Raises:
        TypeError: the context makes sockets of a class of its own, which could not be.
    """
    if suppress_ragged_eofs:
        context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    made = context.sslsocket_class
    if made is ssl.SSLSocket:
        context.sslsocket_class = TrackedSSLSocket
        # Here, and not on every call: gunicorn may be given the same context for each connection.
        sockinfo.remember_server_name(context)
    elif not issubclass(made, TrackedSSLSocket):
        raise TypeError(
            f"the SSLContext makes {made.__qualname__}; derive it from TrackedSSLSocket"
        )
    return context
