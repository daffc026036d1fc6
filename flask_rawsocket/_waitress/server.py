"""The server: waitress's own, which accepts tracked sockets."""

from __future__ import annotations

import inspect
import select
from functools import partial
from typing import TYPE_CHECKING, Any

import waitress
import waitress.server

from .._connection import observing
from .._sockets.patched import check_unpatched
from .accepting import track
from .application import Application
from .stopping import stop, stop_threads

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

__all__ = ["create_server", "serve"]


def create_server(application: WSGIApplication | None, *args: Any, **kwargs: Any) -> Any:
    """Make a server as ``waitress.create_server`` does, with the same arguments.

    Of them ``asyncore_use_poll`` is True by default: select() takes no descriptor above 1023, and
    ``connection_limit`` does not count connections that have been hijacked.
    ``channel_request_lookahead`` does nothing: a client that leaves is noticed without it.

    Returns:
        waitress's own; its ``run`` returns when the hooks of what was open have run.

    Raises:
        RuntimeError: a library has replaced Python's sockets or threads.
    """
    check_unpatched("flask_rawsocket.waitress")
    app = None if application is None else Application(application)  # waitress says what is wrong
    if hasattr(select, "poll"):
        kwargs.setdefault("asyncore_use_poll", True)
    made = waitress.server.create_server(app, *args, **kwargs)
    for each in _servers(made):
        track(each)
    observing.serve_with(made.adj.threads)
    dispatcher = made.task_dispatcher
    dispatcher.shutdown = partial(stop_threads, dispatcher.shutdown)
    made.run = partial(_run, made, made.run)
    return made


def serve(app: WSGIApplication, **kwargs: Any) -> None:
    """Serve `app` as ``waitress.serve`` does, with the same arguments."""
    waitress.serve(app, _server=create_server, **kwargs)


def _servers(made: Any) -> list[Any]:
    """Return the server for each address; several have one main loop.

    In a map that the caller has made there may be other servers, which have other threads.
    """
    if isinstance(made, waitress.server.MultiSocketServer):
        return [
            each
            for each in made.map.values()
            if isinstance(each, waitress.server.BaseWSGIServer)
            and each.task_dispatcher is made.task_dispatcher
        ]
    return [made]


def _run(server: Any, run: Any) -> None:
    """Serve until Control-C, or a SystemExit, ends it; then tell everybody."""
    try:
        run()
    finally:
        stop(_servers(server))


create_server.__signature__ = inspect.signature(waitress.server.create_server)  # type: ignore[attr-defined]
