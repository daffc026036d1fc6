"""How ``make demo`` runs gunicorn; ``__main__.py`` says where it listens."""

import os

worker_class = "flask_rawsocket.Worker"
threads = 4
# Long enough to watch a connection go idle and be used again.
keepalive = 30
# Streams are cut at the end of this.
graceful_timeout = 3
# A line for each request would push the addresses off the screen: DEMO_LOG=- has them printed.
accesslog = os.environ.get("DEMO_LOG") or None
loglevel = "error"
control_socket_disable = True


def ssl_context(_config, make_context):
    """Offer HTTP/1.1 by ALPN, which gunicorn does not by itself."""
    context = make_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
