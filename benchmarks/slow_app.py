"""The application of ``slow_peers.py``: a short answer, a body to read, a long answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import BODY, flask_alone
from flask import Response, request

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = b"x" * 65536
_PIECES = 256

application = flask_alone()


@application.post("/upload")
def upload() -> str:
    """Read the whole body."""
    request.get_data()
    return BODY


@application.get("/long")
def long() -> Response:
    """Answer with 16 MiB."""

    def pieces() -> Iterator[bytes]:
        for _ in range(_PIECES):
            yield _PIECE

    return Response(pieces(), headers={"Content-Length": str(len(_PIECE) * _PIECES)})
