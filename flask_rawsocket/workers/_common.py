"""What the gunicorn workers share: seams, listeners, TLS, the environ, the error path, the stop.

gunicorn is not pinned from above. What we rely on is checked when the arbiter starts, so that a
release that has moved it fails in one sentence there, not in a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gunicorn import http, util
from gunicorn.workers import base

from .._asyncio.seams import check_seams as check_asyncio_seams
from .._connection import ending, observing
from .._connection.connection import life_of
from .._sockets.complaints import Complaints
from .._sockets.deadlines import wait_again
from .._sockets.listener import CAPACITY_ERRORS, PASSING_ERRORS, Listener
from .._sockets.patched import check_unpatched
from .._sockets.tls import TrackedSSLSocket
from .._tracking.tracker import process_tracker
from ..errors import UnsupportedError
from . import _exchange, _patched, _places, _tls_context
from ._application import Application
from ._errors import log_there
from ._exchange import Exchange
from ._failures import FailureWorker
from ._listeners import Listeners
from ._parser import Parser
from ._proxy import note_proxy, proxy_parser_for
from ._response import Response
from ._seams import check_seams
from ._settings import keep_plain
from ._stop import Stop
from ._tls_context import track_contexts

if TYPE_CHECKING:
    from .._connection.connection import Connection
    from .._tracking.tracker import ConnectionTracker

__all__ = ["ACCEPT_PAUSE", "TrackingWorker"]

ACCEPT_PAUSE: Final = 0.25
"""Seconds for which a worker that is out of descriptors leaves connections in the backlog."""


class TrackingWorker(FailureWorker):
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

    listener_class: type[Listener] = Listener
    """What stands in for gunicorn's listening sockets."""

    tls_class: Any = TrackedSSLSocket
    """What connections are wrapped in that speak TLS."""

    parser_class: Any = Parser
    """What gunicorn makes its parsers of HTTP/1 of."""

    application_class: Any = Application
    """What stands where gunicorn has the application; None where it does."""

    @staticmethod
    def setup() -> None:
        """Have our log where gunicorn's is; gunicorn calls this before it loads an application."""
        log_there()

    @classmethod
    def check_process(cls) -> None:
        """Check that this process has the sockets and the threads that this worker is made for.

        Raises:
            PatchedError: it has not; gunicorn prints the text and stops.
        """
        check_unpatched(f"flask_rawsocket.workers.{cls.__name__}")

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Check sockets and seams; the arbiter calls this before it starts any worker."""
        cls.check_process()
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
        self._complaints = Complaints()

    def init_process(self) -> None:
        """Put our listeners and TLS sockets in the place of gunicorn's, and run."""
        _patched.stop_if_patched(self)
        keep_plain(self.cfg)
        _places.take_places(self.response_class, self.parser_class)
        self.listeners.enter_worker()
        self.sockets: list[Any] = [self.listener_class(each, self.tracker) for each in self.sockets]
        self.stop = Stop(self)
        self.is_tls = self.cfg.is_ssl
        self.is_proxied = self.cfg.proxy_protocol != "off"
        if self.is_proxied:
            for each in self.sockets:
                each.proxy_parser_for = proxy_parser_for(self.cfg)
        if self.is_tls:
            track_contexts(self.cfg, self.log, self.tls_class)
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application, and put the connection into the environ that it gets."""
        try:
            super().load_wsgi()
        finally:  # an import that has patched may fail by that
            _patched.stop_if_patched(self)
        if self.application_class is not None:
            self.wsgi: Any = self.application_class(self.wsgi)
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
        if exchange.response is None:
            ending.was_not_called(life)
        duties = sock.duties
        if duties is not None and not (duties.read is duties.write is None):
            duties.lift()
        wait_again(sock)
        return not (life.force_close or exchange.waits_for_body)

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
        self.complain(exc)
        return True

    def complain(self, exc: OSError) -> None:
        """Log why a connection could not be accepted; not each time."""
        if self._complaints.is_due():
            self.log.error("Cannot accept connections: %s", exc)
