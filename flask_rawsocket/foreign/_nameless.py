"""Requests without a socket: which server it is that shows none, and what to do about it."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Final

from ..errors import NoConnectionError
from ._borrowed import lends

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["no_socket"]

_CURE: Final = "run the app with `gunicorn -k flask_rawsocket.Worker` or `flask rawsocket run`"

_TEST_CLIENT: Final = (
    "This request's server does not expose its socket: Flask's test client has none. In a test, "
    f"use the pytest fixture `rawsocket_client`; to serve requests, {_CURE}."
)

_NOT_SET_UP: Final = (
    "uWSGI lends the socket of a request to an application that RawSocket is set up on, and to no "
    "other: call init_app(app), or pass the app to RawSocket()."
)

_BRIDGES: Final = {
    "asgiref.wsgi": "asgiref's WsgiToAsgi",
    "a2wsgi": "a2wsgi",
    "hypercorn.app_wrappers": "",
    "uvicorn.middleware.wsgi": "",
}
"""What calls a WSGI application in an ASGI server, by module: a library, or the server itself."""

_ASGI_SERVERS: Final = {
    "uvicorn": "uvicorn",
    "hypercorn": "hypercorn",
    "daphne": "daphne",
    "granian": "granian",
    "gunicorn.workers.gasgi": "gunicorn's `asgi` worker",
}
"""The servers, by a module that is loaded in their processes."""

_SERVERS: Final = {"granian": "granian", "tornado.wsgi": "Tornado", "bjoern": "bjoern"}
"""Those that are none of that, by the module that calls the application."""

_KEYS: Final = {"mod_wsgi.version": "mod_wsgi", "meinheld.client": "meinheld"}
"""Those in whose call no Python of theirs takes part, by what they put into the environ."""


def no_socket(environ: dict[str, Any]) -> NoConnectionError:
    """Return the error for a request whose server shows no socket; it names the server.

    Args:
        environ: the request's.
    """
    callers = list(_callers())
    if "werkzeug.test" in callers or "flask._preserve_context" in environ:
        return NoConnectionError(_TEST_CLIENT)
    if lends(environ):
        return NoConnectionError(_NOT_SET_UP)
    bridge = next((each for each in _BRIDGES if _is_within(each, callers)), None)
    if bridge is not None or "asgi.scope" in environ:
        server = _asgi_server()
        through = _BRIDGES.get(bridge or "")
        name = f"{server}, through {through}," if through else server
        text = f"{name} is an ASGI server, and shows a WSGI application no connection"
    else:
        text = f"{_name(environ, callers)} does not expose its socket to an application"
    return NoConnectionError(f"{text}: {_CURE}.")


def _name(environ: dict[str, Any], callers: list[str]) -> str:
    """Return the name of a server, as far as it can be known."""
    names = [name for key, name in _KEYS.items() if key in environ]
    names += [name for module, name in _SERVERS.items() if _is_within(module, callers)]
    software = environ.get("SERVER_SOFTWARE")
    if not names and software:
        names = [f"This request's server, {software},"]
    return names[0] if names else "This request's server"


def _asgi_server() -> str:
    loaded = [name for module, name in _ASGI_SERVERS.items() if module in sys.modules]
    return loaded[0] if len(loaded) == 1 else "This request's server"


def _is_within(module: str, callers: list[str]) -> bool:
    return any(each == module or each.startswith(f"{module}.") for each in callers)


def _callers() -> Iterator[str]:
    """Yield the names of the modules in whose calls this is, the innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame.f_globals.get("__name__", "")
        frame = frame.f_back
