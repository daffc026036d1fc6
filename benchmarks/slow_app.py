"""The application of ``slow_peers.py``: a short answer, a body to read, a long answer."""

from __future__ import annotations

from app import BODY, flask_alone
from flask import request

_LONG = b"x" * 16 * 1024 * 1024

application = flask_alone()


@application.post("/upload")
def upload() -> str:
    """Read the whole body."""
    request.get_data()
    return BODY


@application.get("/long")
def long() -> bytes:
    """Answer with 16 MiB, which are complete: what a view makes piece by piece holds its thread."""
    return _LONG
