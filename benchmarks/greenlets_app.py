"""The application of ``greenlets.py``: two ways to serve a hijacked connection in a greenlet."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import app as apps
import gevent

from flask_rawsocket import ConnState, current_conn

if TYPE_CHECKING:
    from flask import Flask

    from flask_rawsocket import HijackedSocket

STAYS, LEAVES, FACTS = "/stays", "/leaves", "/facts"
PROTOCOL = "echo"


def application() -> Flask:
    """Make the application of ``app.py`` with three more views."""
    app = apps.with_rawsocket()

    @app.get(STAYS)
    def stays() -> str:
        _echo(current_conn.upgrade(PROTOCOL))
        return ""

    @app.get(LEAVES)
    def leaves() -> str:
        gevent.spawn(_echo, current_conn.upgrade(PROTOCOL))
        return ""

    @app.get(FACTS)
    def facts() -> dict[str, int]:
        connections = app.extensions["rawsocket"].connections
        return {
            "hijacked": len(connections.in_state(ConnState.HIJACKED)),
            "connections": len(connections),
            "threads": len(list(Path("/proc/self/task").iterdir())),
            "python_threads": threading.active_count(),
        }

    return app


def _echo(stream: HijackedSocket) -> None:
    with stream:
        while data := stream.recv(4096):
            stream.sendall(data)
