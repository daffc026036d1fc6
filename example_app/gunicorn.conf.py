"""How ``make demo`` runs gunicorn: on a TCP port and a UNIX socket, with tracked connections."""

import os

_tcp = os.environ.get("DEMO_BIND", "127.0.0.1:8000")
_unix = os.environ.get("DEMO_SOCKET", "/tmp/flask-rawsocket-demo.sock")  # noqa: S108  a demo's

bind = [_tcp, f"unix:{_unix}"]
worker_class = "flask_rawsocket.Worker"
threads = 4
# Long enough to watch a connection go idle and be used again.
keepalive = 30
accesslog = "-"
control_socket_disable = True


def when_ready(_server):
    """Say where the demo is, once it can be reached."""
    print(  # noqa: T201
        f"\n  The page:           http://{_tcp}/\n"
        f"  Over TCP:           curl http://{_tcp}/api/connection\n"
        f"  Over the UNIX one:  curl --unix-socket {_unix} http://localhost/api/connection\n"
        "  Control-C ends it.\n",
        flush=True,
    )
