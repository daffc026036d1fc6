"""`WSGIServer`: gevent's WSGI server, whose connections are tracked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import gevent
import gevent.pywsgi
import gevent.ssl

from .._connection import observing
from .._connection.address import AF_UNIX
from .._connection.connection import life_of
from .._gevent.accepting import Accepting
from .._gevent.listener import GreenletListener
from .._gevent.process import check_patched, enter_process
from .._gevent.tls import GreenletSSLSocket
from .._sockets.complaints import Complaints
from .._sockets.deadlines import HeaderTimeoutError
from .._sockets.proxied import by_settings, take_proxy_header
from .._sockets.proxy_protocol import ProxyHeaderError
from .._sockets.stopping import (
    HOOKS_TIMEOUT,
    REQUESTS_TIMEOUT,
    close_queued,
    end_hijacked,
    wait_for_requests,
)
from .._sockets.tls_context import track_tls
from .._tracking.tracker import process_tracker
from ._handler import WSGIHandler

if TYPE_CHECKING:
    from .._connection.connection import Connection

__all__ = ["WSGIServer"]

KEEPALIVE: Final = 75.0
"""The seconds for which a connection is kept without a request."""

_LOOK: Final = 0.01
"""Those between two looks whether the pool has a place, while the server stops."""


class WSGIServer(Accepting, gevent.pywsgi.WSGIServer):  # type: ignore[misc]
    """``gevent.pywsgi.WSGIServer``, tracked, with the same arguments.

    TLS takes an `ssl_context`, or a `certfile` and a `keyfile`.

    Raises:
        RuntimeError: gevent has not patched the process.
        TypeError: there are other arguments for TLS.
    """

    tracker = process_tracker

    handler_class = WSGIHandler

    keepalive: float = KEEPALIVE
    """The seconds for which a connection is kept without a request."""

    def __init__(self, listener: Any, application: Any = None, *args: Any, **kwargs: Any) -> None:
        check_patched(f"flask_rawsocket.pywsgi.{type(self).__name__}")
        enter_process()
        if "certfile" in kwargs:
            context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(kwargs.pop("certfile"), kwargs.pop("keyfile", None))
            kwargs["ssl_context"] = context
        if kwargs.get("ssl_context") is not None:
            track_tls(kwargs["ssl_context"], GreenletSSLSocket)
        self._complaints = Complaints()
        super().__init__(listener, application, *args, **kwargs)

    def init_socket(self) -> None:
        """Begin to listen, and track what is accepted from here on."""
        enter_process()  # once more: this may be another thread
        super().init_socket()
        listening: Any = self.socket
        if not isinstance(listening, GreenletListener):
            self.socket = GreenletListener(listening, self.tracker)
            self.socket.proxy_parser_for = by_settings(self.tracker)
        if self.tracker.settings.save_syn:
            self.socket.save_syn()

    def complain(self, exc: OSError) -> None:
        """Log why a connection could not be accepted; not each time."""
        if self._complaints.is_due():
            self.error_log.write(f"Cannot accept connections: {exc}\n")

    def handle(self, sock: Any, address: Any) -> None:
        """Serve a connection, in its own greenlet; here its hooks run."""
        self._serve(sock, address, tls=False)

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        """Shake hands, within the time that a head has, and serve."""
        self._serve(client_socket, address, tls=True)

    def _serve(self, sock: Any, address: Any, *, tls: bool) -> None:
        connection: Connection | None = sock.connection
        if connection is None:
            return
        life = life_of(connection)
        self.tracker.run_hooks(connection)
        sock.expect_head()
        if tls:
            sock = self.begin_tls(sock, address)
        if sock is not None:
            with observing.busy_thread():
                super().handle(sock, address if sock.family != AF_UNIX else str(address))
        kept: Any = life.sock
        if kept is not None:
            kept.hear_server_again()

    def begin_tls(self, sock: Any, _address: Any) -> Any:
        """Shake hands on `sock`; return the socket that carries TLS, None where that has failed."""
        try:
            take_proxy_header(sock)
            return self.wrap_socket(sock, **self.ssl_args)
        except ProxyHeaderError as exc:
            self.error_log.write(f"{sock.connection!r}: {exc}\n")
        except (OSError, HeaderTimeoutError):
            pass
        sock.close()
        return None

    def stop(self, timeout: float | None = None) -> None:
        """Stop: accept no more, serve what is queued, let requests end, end what was hijacked.

        Args:
            timeout: the seconds that requests have, where the server has a pool.
        """
        if self.closed or not isinstance(self.socket, GreenletListener):  # or has not begun
            super().stop(timeout)
            return
        self.accept_no_more()
        self.socket.drain()
        self.serve_queued()
        self.tracker.shutdown()
        self._serve_rest()
        wait_for_requests(self.tracker)
        end_hijacked(self.tracker)
        super().stop(timeout)  # where there is a pool, it kills what goes on
        self.tracker.wait_closed(HOOKS_TIMEOUT)
        self.tracker.is_stopping = self.is_stopping = False

    def _serve_rest(self) -> None:
        """Serve what is queued and finds the pool full, as places become free."""
        if not self.serve_queued():
            end_hijacked(self.tracker)  # which may have the places
        until = time.monotonic() + REQUESTS_TIMEOUT
        while not self.serve_queued() and time.monotonic() < until:
            gevent.sleep(_LOOK)
        close_queued(self.socket)
