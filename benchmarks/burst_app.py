"""The application of ``nginx_burst.py``: a POST that says which connection it came on."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from app import flask_alone
from flask import request

if TYPE_CHECKING:
    from flask import Flask

    from flask_rawsocket import Connection, ConnState


def plain() -> Flask:
    """Make the application without the extension."""
    app = flask_alone()

    @app.post("/")
    def post() -> str:
        request.get_data()
        return str(request.environ["REMOTE_PORT"])

    return app


def hooked() -> Flask:
    """Make the same application with the extension and a CLOSED hook that takes its time."""
    from flask_rawsocket import ConnState, RawSocket  # noqa: PLC0415  # plain() runs without it

    seconds = float(os.environ["BURST_HOOK_SECONDS"])
    app = plain()

    @RawSocket(app).on_state_change(ConnState.CLOSED)
    def dawdle(_conn: Connection, _old: ConnState | None, _new: ConnState) -> None:
        time.sleep(seconds)

    return app
