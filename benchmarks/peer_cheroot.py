"""Serves ``peer_app`` by cheroot: its own command cannot raise the limit of kept connections."""

from __future__ import annotations

import signal
import sys

from cheroot.wsgi import Server
from peer_app import application


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit


def main(port: str, threads: str, connections: str) -> None:
    """Serve on 127.0.0.1 until SIGTERM."""
    server = Server(("127.0.0.1", int(port)), application, numthreads=int(threads))
    server.keep_alive_conn_limit = int(connections)
    signal.signal(signal.SIGTERM, _leave)
    try:
        server.safe_start()
    finally:
        server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
