"""waitress, with tracked connections: the names of ``waitress`` that run an application.

::

    from flask_rawsocket.waitress import serve

    serve(app, listen="127.0.0.1:8080")

The arguments are waitress's own. ``python -m flask_rawsocket.waitress app:app`` takes the options
of ``waitress-serve``. Both need the extra ``waitress``.
"""

from __future__ import annotations

try:
    from ._waitress.server import create_server, serve
except ModuleNotFoundError as exc:
    if exc.name != "waitress":
        raise
    raise ModuleNotFoundError(
        "flask_rawsocket.waitress needs waitress: pip install 'Flask-RawSocket[waitress]'",
        name="waitress",
    ) from exc

__all__ = ["create_server", "serve"]

if __name__ == "__main__":
    import sys

    from waitress.runner import run

    sys.exit(run(_serve=serve))
