"""What the gunicorn workers share: seams, listeners, TLS, the environ, the error path, the stop.

gunicorn is not pinned from above. What we rely on is checked when the arbiter starts, so that a
release that has moved it fails in one sentence there, not in a request.
"""

from __future__ import annotations

import contextlib
import errno
import ssl
import time
from typing import TYPE_CHECKING, Any, Final

from gunicorn import http, util
from gunicorn.uwsgi.errors import UWSGIParseException
from gunicorn.workers import base

from .._asyncio.seams import check_seams as check_asyncio_seams
from .._connection import ending, observing
from .._connection.connection import life_of
from .._connection.ending import PEER_LOST
from .._connection.state import CloseReason, ConnState
from .._sockets.deadlines import HeaderTimeoutError, WriteDeadlineError, wait_again
from .._sockets.listener import CAPACITY_ERRORS, COMPLAINT_PAUSE, PASSING_ERRORS, Listener
from .._sockets.proxy_protocol import ProxyHeaderError
from .._tracking.tracker import process_tracker
from ..errors import UnsupportedError
from . import _exchange, _patched, _places, _tls_context
from ._application import Application
from ._exchange import Exchange
from ._listeners import Listeners
from ._proxy import in_words_of_gunicorn, note_proxy, proxy_parser_for
from ._reasons import has_left, note_cut, reason_of
from ._response import Response
from ._seams import check_seams
from ._settings import keep_plain
from ._stop import Stop
from ._tls_context import TLSSetupError, track_contexts

if TYPE_CHECKING:
    from .._connection.connection import Connection
    from .._tracking.tracker import ConnectionTracker

__all__ = ["ACCEPT_PAUSE", "TrackingWorker"]

PEER_SAID_BYE: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What reading or writing raises when the peer has left, in TLS's words."""

ACCEPT_PAUSE: Final = 0.25
"""Seconds for which a worker that is out of descriptors leaves connections in the backlog."""


class TrackingWorker(base.Worker):
    """Comes before a worker class of gunicorn's, and tracks the connections it accepts."""

    tracker: ConnectionTracker = process_tracker

    SEAMS: tuple[tuple[object, str], ...] = (
        (base.Worker, "init_process"),
        (base.Worker, "load_wsgi"),
        (base.Worker, "handle_error"),
        (http, "get_parser"),
        (util, "write_error"),
        *_exchange.SEAMS,
        *_patched.SEAMS,
        *_places.SEAMS,
        *_tls_context.SEAMS,
    )
    """What we rely on beyond the documented settings: pairs of an owner and a name."""

    response_class: type[Response] = Response
    """What gunicorn makes its responses of."""

    is_tls = False
    """Whether the listeners speak TLS; the setting itself takes a microsecond to ask for."""

    is_proxied = False
    """Whether a connection may begin with a PROXY protocol header."""

    quitting: tuple[Any, Any] | None = None
    """The signal and frame of a QUIT that is to be obeyed at the next safe moment."""

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Check sockets and seams; the arbiter calls this before it starts any worker."""
        _patched.check_sockets(cls)
        check_seams(cls, cls.SEAMS)
        try:
            check_asyncio_seams()
        except UnsupportedError as exc:  # all else works
            log.error("%s", exc)  # noqa: TRY400  one sentence
        inherited = getattr(super(), "check_config", None)
        if inherited is not None:
            inherited(cfg, log)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.listeners = Listeners(self.sockets, self.cfg)

    def init_process(self) -> None:
        """Put our listeners and TLS sockets in the place of gunicorn's, and run."""
        _patched.stop_if_patched(self)
        keep_plain(self.cfg)
        _places.take_places(self.response_class)
        self.listeners.enter_worker()
        self.sockets: list[Any] = [Listener(each, self.tracker) for each in self.sockets]
        self.stop = Stop(self)
        self.is_tls = self.cfg.is_ssl
        self.is_proxied = self.cfg.proxy_protocol != "off"
        if self.is_proxied:
            for each in self.sockets:
                each.proxy_parser_for = proxy_parser_for(self.cfg)
        if self.is_tls:
            track_contexts(self.cfg, self.log)
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application, and put the connection into the environ that it gets."""
        try:
            super().load_wsgi()
        finally:  # an import that has patched may fail by that
            _patched.stop_if_patched(self)
        self.wsgi: Any = Application(self.wsgi)
        observing.serve_with(self.cfg.threads)
        if self.tracker.settings.save_syn:
            for listener in self.sockets:
                listener.save_syn()

    def begin_request(self, sock: Any, req: Any) -> Connection | None:
        """The head of `req` has been read from `sock`: note what it says of the connection."""
        duties = sock.duties
        connection: Connection | None = duties and duties.connection
        if connection is None:
            return None
        duties.head_complete()
        life = duties.life
        ending.request_begun(life)
        life.exchange = Exchange(req, sock, self.log)
        if life.force_close:
            req.force_close()
        if self.is_proxied:
            note_proxy(connection, req)
        return connection

    @staticmethod
    def was_short(connection: Connection | None) -> bool:
        """Tell whether the response that has ended was shorter than its head said."""
        if connection is None:
            return False
        life = life_of(connection)
        exchange: Any = life.exchange
        if exchange.response is None or not exchange.is_short():
            return False
        ending.note(life, CloseReason.SHORT_RESPONSE)
        return True

    def broken_off(self, connection: Connection | None, exc: OSError) -> None:
        """Note why a request broke off with `exc`.

        Raises:
            BrokenPipeError: the write deadline has passed; gunicorn would log what the application
                asked for as a failure of its own.
            ConnectionResetError: the system has given the peer up; gunicorn would log that, too.
        """
        if connection is None:
            return
        life = life_of(connection)
        if isinstance(exc, PEER_SAID_BYE):
            ending.note(life, CloseReason.PEER_CLOSED)
        elif isinstance(exc, ConnectionError) or exc.errno in PEER_LOST:
            if not ending.broke_off(life, exc):
                note_cut(life)
            elif exc.errno in PEER_LOST:
                raise ConnectionResetError(errno.ECONNRESET, str(exc)) from exc
        elif isinstance(exc, WriteDeadlineError):
            self.log.info("%r: %s", connection, exc)
            raise BrokenPipeError(errno.EPIPE, str(exc)) from exc
        else:
            note_cut(life)

    def end_request(self, sock: Any, connection: Connection | None) -> bool:
        """The response has ended: let go of the request; tell if the connection can be kept."""
        if connection is None:
            return True
        life = life_of(connection)
        exchange: Any = life.exchange
        life.exchange = None
        if life.watched:
            self.tracker.request_ended(connection)
        if exchange.hijacked:
            return False  # its deadlines are its owner's
        duties = sock.duties
        if duties is not None and not (duties.read is duties.write is None):
            duties.lift()
        wait_again(sock)
        return not (life.force_close or exchange.waits_for_body)

    def view_exited(self, connection: Connection | None, exc: BaseException) -> Exception:
        """Return what to raise for a view's SystemExit and its like, which end no worker here.

        A pool thread would swallow it, and nobody would hear of it.
        """
        exchange = life_of(connection).exchange if connection is not None else None
        response = getattr(exchange, "response", None)
        if response is None or not response.headers_sent:
            return RuntimeError(f"the view raised {exc!r}")
        self.log.error("The view raised %r in the middle of its response", exc, exc_info=exc)
        return StopIteration()  # gunicorn's word for it: close, and answer nothing

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer and log a request that failed, as gunicorn does, whatever the address is.

        A head that came too slowly is answered with 408 (RFC 9110, section 15.5.9). Who sent
        nothing is not answered, nor who would understand nothing, as no TLS could be begun.
        """
        connection = getattr(client, "connection", None)
        if isinstance(exc, HeaderTimeoutError):
            self.log.debug("%s: %s", connection, exc)
            if connection is not None and connection.state is ConnState.ACTIVE:
                _write_timeout(client)
            return
        if isinstance(exc, ProxyHeaderError):
            self._refuse_header(client, addr, exc)
            return
        if connection is not None:
            life = life_of(connection)
            if isinstance(exc, UWSGIParseException) and has_left(life):
                # The end of the stream is no broken packet: over HTTP gunicorn says nothing either.
                self.log.debug("%r: %s", connection, exc)
                ending.note(life, CloseReason.PEER_CLOSED)
                return
            ending.note(life, reason_of(exc, in_view=req is not None))
        if isinstance(exc, TLSSetupError):
            return  # it is in the log
        if isinstance(addr, (str, bytes)):
            # gunicorn takes it apart, and of a UNIX peer's text would log one letter.
            addr = (addr.decode(errors="replace") if isinstance(addr, bytes) else str(addr), -1)
        super().handle_error(req, client, addr, exc)

    def _refuse_header(self, client: Any, addr: Any, exc: ProxyHeaderError) -> None:
        if self.is_tls and not isinstance(client, ssl.SSLSocket):
            self.log.warning("%r: %s", client.connection, exc)  # in the clear nobody would listen
        else:
            addr = addr if isinstance(addr, tuple) else (str(addr), -1)
            super().handle_error(None, client, addr, in_words_of_gunicorn(exc, addr[0]))

    def run(self) -> None:
        """Serve until the worker is to stop; then say so, wait for owners, close what is left."""
        try:
            super().run()
            self.quit_now()
            self.stop.begin()
            self.serve_queued()
            self.stop.wait_told()
            self.quit_now()
            self.stop.wait_owners()
            self.quit_now()
        finally:
            try:
                self.stop.begin()
                self.stop.wait_told()
            finally:
                self.stop.end()

    def serve_queued(self) -> None:
        """Serve what the kernel has queued and nobody else would, if gunicorn's `run` has not."""

    def quit_now(self) -> None:
        """Obey the QUIT that was put off, if there is one."""

    def is_parent_alive(self) -> bool:
        """Tell whether the arbiter lives; without it this worker stops."""
        alive = bool(super().is_parent_alive())  # type: ignore[misc]
        self.alive = self.alive and alive
        return alive

    def accept_failed(self, exc: OSError) -> bool:
        """Judge a failed ``accept()``: tell whether to pause, raise what is beyond us.

        Args:
            exc: what it raised.
        """
        if exc.errno in PASSING_ERRORS:
            return False
        if exc.errno not in CAPACITY_ERRORS:
            raise exc
        now = time.monotonic()
        if now >= self._next_complaint:
            self._next_complaint = now + COMPLAINT_PAUSE
            self.log.error("Cannot accept connections: %s", exc)
        return True

    _next_complaint = 0.0


def _write_timeout(client: Any) -> None:
    # It may be gone, or its TLS was never set up: there is nobody to tell then.
    with contextlib.suppress(OSError):
        util.write_error(client, 408, "Request Timeout", "")
