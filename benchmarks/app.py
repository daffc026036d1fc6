"""The measured application: the same code under both servers, in three sizes.

gunicorn is given one of the factories below, as ``app:with_rawsocket()``.  Each
application answers ``GET /`` with a short text and nothing else.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from flask import Flask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

BODY = "Hello from the benchmark.\n"


def flask_alone() -> Flask:
    """Make a Flask application with one view and no extension."""
    _own_inherited_pages()
    app = Flask(__name__)

    @app.get("/")
    def index() -> tuple[str, dict[str, str]]:
        return BODY, {"Content-Type": "text/plain"}

    return app


def with_rawsocket() -> Flask:
    """Make the same application with the extension, its view as it was."""
    from flask_rawsocket import RawSocket  # noqa: PLC0415  # the other factories run without it

    app = flask_alone()
    RawSocket(app)
    return app


def wsgi_alone() -> WSGIApplication:
    """Make a bare WSGI callable: what is left is the server."""
    _own_inherited_pages()
    payload = BODY.encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(payload)))]

    def application(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return [payload]

    return application


def _own_inherited_pages() -> None:
    """Write to all that the worker inherited from gunicorn's master at its fork.

    A full collection does, some time.  When it came between the two readings of
    ``memory.py``, the pages that ceased to be shared looked like growth (7 MB of PSS).
    """
    gc.collect()


#: What ``--app`` may name, and the factory that gunicorn is given for it.
FACTORIES: dict[str, Callable[[], WSGIApplication]] = {
    "flask": with_rawsocket,
    "flask-alone": flask_alone,
    "wsgi": wsgi_alone,
}
