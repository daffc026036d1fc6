"""The development server: the names of ``werkzeug.serving``, with tracked connections.

It is Werkzeug's own server but for where the connection comes from and when TLS shakes hands: in
the connection's thread, so that a client which stalls in its handshake stops nobody else. Like
Werkzeug's, it closes the connection after every response; IDLE does not exist here.

In a forking server the child tracks its one connection; the parent, which only hands it over, does
not see it in its map.
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import werkzeug.serving
from werkzeug.serving import is_running_from_reloader

from .._connection import ending, observing
from .._connection.address import AF_UNIX
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._sockets.complaints import Complaints
from .._sockets.deadlines import HeaderTimeoutError
from .._sockets.last_accepts import peer_of
from .._sockets.listener import CAPACITY_ERRORS, Listener
from .._sockets.patched import check_unpatched
from .._sockets.plain import TrackedSocket
from .._sockets.proxied import by_settings, take_proxy_header
from .._sockets.proxy_protocol import ProxyHeaderError
from .._sockets.stopping import HOOKS_TIMEOUT, end_hijacked, serve_queued, wait_for_requests
from .._sockets.tls_context import track_tls
from .._tracking.tracker import process_tracker
from ._application import Application
from ._handler import WSGIRequestHandler
from ._stopping import shutting_down

if TYPE_CHECKING:
    from collections.abc import Iterator
    from wsgiref.types import WSGIApplication

    from .._connection.connection import Connection
    from .._tracking.tracker import ConnectionTracker

__all__ = [
    "BaseWSGIServer",
    "ForkingWSGIServer",
    "ThreadedWSGIServer",
    "WSGIRequestHandler",
    "is_running_from_reloader",
    "make_server",
    "run_simple",
]

_running: Final[set[BaseWSGIServer]] = set()
"""The servers of this process that serve; they share its tracker."""


def _tracking(
    handler: type[werkzeug.serving.WSGIRequestHandler] | None,
) -> type[werkzeug.serving.WSGIRequestHandler]:
    """Return `handler` with our part in it."""
    if handler is None or issubclass(WSGIRequestHandler, handler):
        return WSGIRequestHandler
    if issubclass(handler, WSGIRequestHandler):
        return handler
    return type(handler.__name__, (handler, WSGIRequestHandler), {"__module__": handler.__module__})


def _end_with_process(tracker: ConnectionTracker) -> None:
    """The process ends, and its threads with it: tell the hooks of what is still open."""
    with contextlib.suppress(KeyboardInterrupt):  # once more: that is enough
        for connection in tracker.connections.values():
            tracker.closed(connection, CloseReason.STOPPED)
        tracker.wait_closed(HOOKS_TIMEOUT)


@contextlib.contextmanager
def _noting_interrupts(connection: Connection | None) -> Iterator[None]:
    """Inside, Ctrl-C is why `connection` ends: this is the only thread that there is."""
    try:
        yield
    except KeyboardInterrupt:
        if connection is not None:
            ending.note(life_of(connection), CloseReason.STOPPED)
        raise


class BaseWSGIServer(werkzeug.serving.BaseWSGIServer):
    """Werkzeug's server for one request at a time, tracked."""

    tracker = process_tracker

    _served = False
    """Whether it has: the parent of a reloader makes a server, and only closes it."""

    def __init__(  # noqa: PLR0913, PLR0917  Werkzeug's signature
        self,
        host: str,
        port: int,
        app: WSGIApplication,
        handler: type[werkzeug.serving.WSGIRequestHandler] | None = None,
        passthrough_errors: bool = False,  # noqa: FBT001, FBT002
        ssl_context: Any = None,
        fd: int | None = None,
    ) -> None:
        check_unpatched(f"flask_rawsocket.serving.{type(self).__name__}")
        self._complaints = Complaints()
        rest = (_tracking(handler), passthrough_errors, ssl_context, fd)
        super().__init__(host, port, Application(app), *rest)
        if self.ssl_context is not None:
            track_tls(self.ssl_context)
        self._listener = Listener(self.socket, self.tracker)
        self._listener.proxy_parser_for = by_settings(self.tracker)
        self._ours = fd is None
        """Whether the listening socket is no other process's too, such as a reloader's."""
        if self.tracker.settings.save_syn:
            self._listener.save_syn()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection, tracked; its TLS handshake comes later."""
        try:
            return self._accept()
        except OSError as exc:
            if exc.errno in CAPACITY_ERRORS:
                if self._complaints.is_due():
                    self.log("error", "Cannot accept connections: %s", exc)
                time.sleep(0.1)  # the connection stays in the backlog, and this would spin
            raise

    def _accept(self) -> tuple[socket.socket, Any]:
        return self._listener.accept()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown` is called."""
        if not self._served:
            self._served = True
            _running.add(self)
            atexit.register(_end_with_process, self.tracker)
        with shutting_down(self):
            super().serve_forever(poll_interval)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands where there is TLS, then serve the request; here the hooks run."""
        with _noting_interrupts(request.connection):
            self.tracker.run_hooks(request.connection)
        if not isinstance(client_address, tuple):
            # Werkzeug indexes the address, in its log before it has made it a tuple itself.
            client_address = (client_address or "<local>", 0)
        request.expect_head()
        if self.ssl_context is None:
            self._handle(request, client_address)
            return
        try:
            take_proxy_header(request)
            request = self.ssl_context.wrap_socket(request, server_side=True)
        except ProxyHeaderError as exc:
            self.log("warning", "%r: %s", request.connection, exc)
            return
        except (OSError, HeaderTimeoutError) as exc:
            self.log("info", "TLS handshake failed: %s", exc)
            return
        connection = request.connection
        try:
            self._handle(request, client_address)
        finally:
            if connection is not None and connection.state is ConnState.HIJACKED:
                request.hear_server_again()
            else:
                self.shutdown_request(request)

    def _handle(self, request: Any, client_address: Any) -> None:
        with _noting_interrupts(request.connection), observing.busy_thread():
            super().finish_request(request, client_address)

    def _serve_next(self) -> None:
        self._handle_request_noblock()  # type: ignore[attr-defined]  # of socketserver

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; Ctrl-C is why, where that has come while it was handled."""
        connection = getattr(request, "connection", None)
        if isinstance(sys.exception(), KeyboardInterrupt) and connection is not None:
            ending.note(life_of(connection), CloseReason.STOPPED)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop: take in what is queued, close the listening socket, let requests end.

        The functions given to ``on_shutdown`` are called meanwhile. What was hijacked is ended
        after a moment for its owners: the process may end next, and their threads, or the event
        loop's, with it.
        """
        if self._served:
            self._served = False
            with contextlib.suppress(KeyboardInterrupt):  # once more: that is enough
                if self._ours:
                    self._listener.refuse()
                serve_queued(self._listener, self._serve_next)
                self.tracker.shutdown()
                _running.discard(self)
                if not _running:
                    wait_for_requests(self.tracker)
                    end_hijacked(self.tracker)
            _running.discard(self)
            self.tracker.is_stopping = False
        super().server_close()


class ThreadedWSGIServer(werkzeug.serving.ThreadedWSGIServer, BaseWSGIServer):
    """Werkzeug's threaded server, tracked."""


class ForkingWSGIServer(werkzeug.serving.ForkingWSGIServer, BaseWSGIServer):
    """Werkzeug's forking server, tracked in the child that handles the connection."""

    def _accept(self) -> tuple[socket.socket, Any]:
        descriptor, address = self._listener.accept_untracked()
        # socketserver prints it where serving fails; a UNIX peer's is a path that it chose.
        return socket.socket(fileno=descriptor), address if isinstance(address, tuple) else ""

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the child: track the connection, then serve it."""
        family = request.family
        sock = TrackedSocket(family, request.type, request.proto, request.detach())
        if family == AF_UNIX:
            client_address = peer_of(sock.fileno(), family)
        _, address = self._listener.adopt(sock, client_address)
        try:
            super().finish_request(sock, address)
        finally:
            self.shutdown_request(sock)
            # The process ends when this returns, and with it whatever thread owns the connection.
            self.tracker.wait_hijacked(None)


def make_server(  # noqa: PLR0913, PLR0917
    host: str,
    port: int,
    app: WSGIApplication,
    threaded: bool = False,  # noqa: FBT001, FBT002  Werkzeug's signature
    processes: int = 1,
    request_handler: type[werkzeug.serving.WSGIRequestHandler] | None = None,
    passthrough_errors: bool = False,  # noqa: FBT001, FBT002
    ssl_context: Any = None,
    fd: int | None = None,
) -> BaseWSGIServer:
    """Make a server as ``werkzeug.serving.make_server`` does, with the same arguments."""
    if threaded and processes > 1:
        raise ValueError("Cannot have a multi-thread and multi-process server.")
    rest = (request_handler, passthrough_errors, ssl_context, fd)
    if processes > 1:
        return ForkingWSGIServer(host, port, app, processes, *rest)
    return (ThreadedWSGIServer if threaded else BaseWSGIServer)(host, port, app, *rest)


@contextlib.contextmanager
def replacing_werkzeug() -> Iterator[None]:
    """Inside, Werkzeug's ``make_server`` makes our servers, for what calls it by that name.

    ``run_simple`` and ``flask run`` do a good deal besides making a server, and take no other.
    They are a process's main call; nobody else makes a server meanwhile.
    """
    original = werkzeug.serving.make_server
    werkzeug.serving.make_server = make_server
    try:
        yield
    finally:
        werkzeug.serving.make_server = original


def run_simple(*args: Any, **kwargs: Any) -> None:
    """Run the development server as ``werkzeug.serving.run_simple`` does, with its arguments."""
    with replacing_werkzeug():
        werkzeug.serving.run_simple(*args, **kwargs)


run_simple.__signature__ = inspect.signature(werkzeug.serving.run_simple)  # type: ignore[attr-defined]
