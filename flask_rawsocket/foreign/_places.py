"""Where a server that is not ours has the socket of a request: in its environ, or behind it."""

from __future__ import annotations

import contextlib
import socket
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["find_socket"]


def _itself(found: Any) -> Any:
    return found


def _eventlet_socket(body: Any) -> Any:
    """Return the socket that eventlet wraps; its own one of TLS is a whole socket by itself."""
    wrapper = body._sock  # noqa: SLF001  eventlet.wsgi.Input shows it nowhere else
    return wrapper if hasattr(wrapper, "selected_alpn_protocol") else wrapper.fd


_PLACES: Final[tuple[tuple[str, Callable[[Any], Any]], ...]] = (
    ("gunicorn.socket", _itself),
    ("werkzeug.socket", _itself),
    ("gunicorn.sock", _itself),  # gunicorn's `gevent_pywsgi`
    ("waitress.client_disconnected", attrgetter("__self__.socket")),
    ("eventlet.input", _eventlet_socket),
    ("wsgi.input", attrgetter("rfile.raw._sock")),  # gevent.pywsgi
    ("wsgi.input", attrgetter("rfile._raw._sock")),  # cheroot, and CherryPy with it
    ("wsgi.input", attrgetter("raw._sock")),  # wsgiref.simple_server
)
"""The keys of environs, and the way from what stands there to the socket."""

_METHODS: Final = ("fileno", "getpeername", "getsockname", "getsockopt")


def find_socket(environ: dict[str, Any]) -> Any:
    """Return the open socket of a request; None if its server shows none.

    It need not be a ``socket.socket``: gevent has its own, also where nothing is patched.

    Args:
        environ: the request's WSGI environ.
    """
    return next((sock for sock in _found(environ) if _is_open_socket(sock)), None)


def _found(environ: dict[str, Any]) -> Iterator[Any]:
    for key, way in _PLACES:
        if key in environ:
            # OSError: of a closed socket of gevent's, whatever it is asked for; ValueError: of a
            # file that has been detached.
            with contextlib.suppress(AttributeError, OSError, ValueError):
                yield way(environ[key])


def _is_open_socket(found: Any) -> bool:
    is_socket = isinstance(found, socket.socket) or all(hasattr(found, each) for each in _METHODS)
    return is_socket and found.fileno() >= 0
