"""`GeventPyWSGIWorker`: gunicorn's ``gevent_pywsgi`` worker, tracked; gevent parses requests."""

from __future__ import annotations

from typing import Any

import gevent.pywsgi
from gevent.pool import Pool
from gunicorn.http.wsgi import base_environ
from gunicorn.workers import ggevent

from .. import pywsgi
from .gevent import GeventWorker

__all__ = ["GeventPyWSGIWorker"]


class PyWSGIHandler(pywsgi.WSGIHandler, ggevent.PyWSGIHandler):
    """gunicorn's handler of one connection, tracked."""

    def log_request(self) -> None:
        """Write a line of the access log, where there was a request."""
        if self.environ is not None:
            super().log_request()


class PyWSGIServer(pywsgi.WSGIServer):
    """gunicorn's server, tracked.

    Args:
        worker: whose server it is.
        args: those of gevent's.
    """

    def __init__(self, worker: Any, *args: Any, **kwargs: Any) -> None:
        self._worker = worker
        super().__init__(*args, **kwargs)
        self.keepalive = worker.cfg.keepalive

    def handle(self, sock: Any, address: Any) -> None:
        """Serve a connection; the worker knows how TLS is begun."""
        self._serve(sock, address, tls=self._worker.is_tls)

    def begin_tls(self, sock: Any, address: Any) -> Any:
        """Shake hands with the certificate of now."""
        return self._worker.wrap(sock, address)


class GeventPyWSGIWorker(GeventWorker):
    """``gunicorn -k flask_rawsocket.GeventPyWSGIWorker``."""

    application_class = None

    SEAMS = (
        *GeventWorker.SEAMS,
        (ggevent.PyWSGIHandler, "get_environ"),
        (ggevent.PyWSGIHandler, "log_request"),
        (gevent.pywsgi.WSGIHandler, "finalize_headers"),
        (gevent.pywsgi.WSGIHandler, "handle_one_request"),
        (gevent.pywsgi.WSGIHandler, "run_application"),
        (gevent.pywsgi.WSGIHandler, "_handle_client_error"),
        (gevent.pywsgi.WSGIHandler, "_write"),
    )

    def make_server(self, listener: Any) -> Any:
        """Return the server that accepts from `listener`."""
        environ = base_environ(self.cfg)
        environ["wsgi.multithread"] = True
        environ["SERVER_SOFTWARE"] = ggevent.VERSION
        environ["wsgi.url_scheme"] = "https" if self.is_tls else "http"
        return PyWSGIServer(
            self,
            listener,
            application=self.wsgi,
            spawn=Pool(self.worker_connections),
            log=self.log,
            handler_class=PyWSGIHandler,
            environ=environ,
        )
