"""`GeventWorker`: gunicorn's ``gevent`` worker, tracked: each connection in a greenlet."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

import gevent.monkey
from gevent.server import StreamServer
from gunicorn import sock as gunicorn_sock
from gunicorn.workers import ggevent
from gunicorn.workers.base_async import AsyncWorker

from .._connection import ending, observing
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._gevent.listener import GreenletListener
from .._gevent.process import enter_process
from .._gevent.tls import GreenletSSLSocket
from .._sockets.deadlines import READ, HeaderTimeoutError
from .._sockets.proxied import take_proxy_header
from .._sockets.proxy_protocol import ProxyHeaderError
from . import _http2_streams
from ._common import TrackingWorker
from ._exchange import LEAVE_TIMEOUT, is_left
from ._failures import PEER_SAID_BYE
from ._greenlet_http2 import expect_preface, follow_streams, may_be_preface
from ._greenlet_parser import GreenletParser
from ._greenlets import LINGER_TIMEOUT, GreenletWorker
from ._http2_streams import served, serving
from ._reasons import response_cut
from ._tls_context import TLSSetupError

if TYPE_CHECKING:
    from .._connection.connection import Connection

__all__ = ["GeventWorker"]

_QUIET: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF})
"""The peer has left, or the application has closed; nothing to log."""

_NO_LIMIT: Final = contextlib.nullcontext()

_TO_BE_TOLD: Final = (ssl.SSLError, HeaderTimeoutError, ProxyHeaderError, TLSSetupError)


class GeventWorker(TrackingWorker, GreenletWorker):
    """``gunicorn -k flask_rawsocket.GeventWorker``."""

    listener_class = GreenletListener
    tls_class = GreenletSSLSocket
    parser_class = GreenletParser

    SEAMS = (
        *TrackingWorker.SEAMS,
        (AsyncWorker, "handle"),
        (AsyncWorker, "handle_request"),
        (AsyncWorker, "handle_http2"),
        (AsyncWorker, "handle_http2_request"),
        (AsyncWorker, "timeout_ctx"),
        (ggevent.GeventWorker, "patch"),
        (gevent.socket.socket, "_read_event"),
        (gevent.socket.socket, "_sock"),
        (gevent.socket.socket, "_write_event"),
        (StreamServer, "do_handle"),
        (StreamServer, "do_read"),
        (StreamServer, "stop_accepting"),
        (StreamServer, "_make_socket_stdlib"),
        (StreamServer, "_start_accepting_if_started"),
        *_http2_streams.SEAMS,
    )

    @classmethod
    def check_process(cls) -> None:
        """Do nothing: this worker is for processes that gevent has patched, and patches them."""

    def init_process(self) -> None:
        """Patch the process, as gunicorn's own worker does; then run."""
        # First: locks and TLS contexts that are made from here on are gevent's.
        gevent.monkey.patch_all()
        enter_process()
        follow_streams(self.tracker)
        super().init_process()

    def quit_now(self) -> None:
        """Do what gunicorn does on a QUIT: call ``worker_int``, and leave."""
        if self.quitting is not None:
            AsyncWorker.handle_quit(self, *self.quitting)

    def timeout_ctx(self) -> Any:
        """Limit nothing: the parser, and the sockets, know for what they wait and how long.

        But gunicorn's own parser, of the uwsgi protocol, does not.
        """
        is_http = getattr(self.cfg, "protocol", "http") == "http"
        return _NO_LIMIT if is_http else super().timeout_ctx()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection, in its own greenlet; here its hooks run."""
        connection: Connection | None = client.connection
        if connection is None:
            return
        life = life_of(connection)
        self.tracker.run_hooks(connection)
        client.expect_head()
        if not self.is_tls and may_be_preface(self.cfg, addr):
            expect_preface(client.duties)
        try:
            with observing.busy_thread():
                sock = self.wrap(client, addr) if self.is_tls else client
                if sock is not None:
                    super().handle(listener, sock, addr)
        finally:  # also where this greenlet is killed: its number may be another one's next
            kept: Any = life.sock
            if kept is not None:
                kept.hear_server_again()

    def wrap(self, client: Any, addr: Any) -> Any:
        """Begin TLS; return the socket that carries it, None where that has failed."""
        try:
            take_proxy_header(client)
            return gunicorn_sock.ssl_wrap_socket(client, self.cfg)
        except _TO_BE_TOLD as exc:
            self.handle_error(None, client, addr, exc)
        except OSError as exc:
            if exc.errno not in _QUIET:
                self.log.error("The connection could not be read: %s", exc)  # noqa: TRY400
        except Exception:  # of a socket class of the application's, say
            self.log.exception("TLS could not be set up")
        client.close()
        return None

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> bool:
        """Serve one request, and note how the connection will have ended if it ends now.

        Raises:
            StopIteration: the connection is not to be kept.
        """
        connection = self.begin_request(sock, req)
        if connection is None:
            return bool(AsyncWorker.handle_request(self, listener_name, req, sock, addr))
        try:
            keeps = self._handle_request(connection, listener_name, req, sock, addr)
        finally:
            can_be_kept = self.end_request(sock, connection)
            if not self.alive:
                self.wake()
        life = life_of(connection)
        if keeps and can_be_kept:
            ending.reset(life)
            return True
        if not life.is_hijacked():
            ending.answered(life)
            self.linger(sock)
        raise StopIteration

    def _handle_request(self, connection: Connection, *args: Any) -> bool:
        """Return whether the connection is kept; all of the response has been sent then."""
        life = life_of(connection)
        try:
            keeps = bool(AsyncWorker.handle_request(self, *args))
        except OSError as exc:
            self.broken_off(connection, exc)
            raise
        except StopIteration:
            response = getattr(life.exchange, "response", None)
            if response is None or not response.is_complete:
                self._response_cut(connection, args[2])
                raise
            keeps = False
        except Exception:
            raise
        except BaseException as exc:
            raised = self.view_exited(connection, exc)
            if isinstance(raised, StopIteration):
                response_cut(connection)
            raise raised from exc
        return keeps and not self.was_short(connection)

    @staticmethod
    def _response_cut(connection: Connection, sock: Any) -> None:
        """The application has failed in its response, or left the connection to a greenlet."""
        response_cut(connection)
        if is_left(life_of(connection)):
            with contextlib.suppress(OSError):  # the other greenlet has closed it
                sock.is_ready(READ, LEAVE_TIMEOUT)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer and log a request that failed; let the peer read the answer.

        A peer that has left while TLS was begun is not answered.
        """
        if isinstance(exc, PEER_SAID_BYE):
            self.log.debug("TLS broken off: %s", exc)
            if client.connection is not None:
                ending.note(life_of(client.connection), CloseReason.PEER_CLOSED)
            return
        if self._is_broken_off(client, exc):
            return
        super().handle_error(req, client, addr, exc)
        if client.connection is not None and client.connection.state is ConnState.ACTIVE:
            self.linger(client)

    def _is_broken_off(self, client: Any, exc: BaseException) -> bool:
        """Tell whether the greenlet was killed between two requests, or before the first.

        Nothing is to be answered then: to the client it would be the answer to its next request.
        """
        connection: Connection | None = client.connection
        if isinstance(exc, Exception) or connection is None or connection.state is ConnState.ACTIVE:
            return False
        self.log.warning("%r is closed: %r has broken off the wait for a request", connection, exc)
        return True

    @staticmethod
    def linger(sock: Any) -> None:
        """Say FIN, and wait a while for the peer's: a reset would take the response along."""
        duties = sock.duties
        if duties is None or duties.goodbye_said:
            return
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            return
        sock.drop_rest(LINGER_TIMEOUT)

    def handle_http2(self, listener: Any, client: Any, *args: Any, **kwargs: Any) -> None:
        """Serve HTTP/2 until the connection ends, as gunicorn does."""
        super().handle_http2(listener, client, *args, **kwargs)
        if served(self, client):
            self.linger(client)

    def handle_http2_request(
        self, listener_name: Any, req: Any, sock: Any, addr: Any, h2_conn: Any
    ) -> Any:
        """Serve one stream."""
        with serving(self, sock, req, h2_conn):
            return super().handle_http2_request(listener_name, req, sock, addr, h2_conn)
