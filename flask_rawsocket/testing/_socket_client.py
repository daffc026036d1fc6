"""`SocketClient`: Flask's test client over a real connection to a real server."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from flask.testing import FlaskClient

from ._peer import Peer
from ._wire import NonEmpty, read_response, request_bytes

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from flask import Flask
    from werkzeug.datastructures import Headers
    from werkzeug.test import TestResponse

__all__ = ["SocketClient"]


class SocketClient(FlaskClient):
    """Flask's test client, whose requests are sent to a `RawSocketServer`.

    The responses are those that the server has sent; exceptions of a view are in the server's log,
    and ``with client:`` keeps no request context. Make it with `RawSocketServer.connect`.
    """

    def __init__(self, application: Flask, dial: Callable[[], socket.socket]) -> None:
        super().__init__(application)
        self._link = _Link(dial)
        self._handle: Any = self._link.exchange

    @property
    def peer(self) -> Peer:
        """The client's end of the connection; one that has ended stays until the next request."""
        return self._link.peer

    def close(self) -> None:
        """End the connection."""
        self._link.peer.leave()

    def send_request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, and do not wait for its response.

        Args:
            args: as of ``client.open()``, such as the path.
            kwargs: likewise, such as ``method`` and ``json``.
        """
        self._like(self._link.send).open(*args, **kwargs)

    def read_response(self) -> TestResponse:
        """Read the next response; to a request that `send_request`, or ``peer.send``, has sent.

        Raises:
            ConnectionError: the connection has ended without one.
        """
        return self._like(self._link.read).open()

    def _like(self, handle: Any) -> SocketClient:
        """Return this very client, with its cookies, but for what it does with a request."""
        client = copy.copy(self)
        client._handle = handle  # noqa: SLF001  a copy of this object
        return client

    def run_wsgi_app(
        self,
        environ: WSGIEnvironment,
        buffered: bool = False,  # noqa: FBT001, FBT002  Werkzeug's signature
    ) -> tuple[Iterable[bytes], str, Headers]:
        calling = copy.copy(self)
        calling.application = self._handle
        body, status, headers = FlaskClient.run_wsgi_app(calling, environ, buffered)
        return body if buffered else NonEmpty(body), status, headers


class _Link:
    """The connection of a client and of its copies, one after another; each method is a WSGI app.

    Args:
        dial: connects.
    """

    def __init__(self, dial: Callable[[], socket.socket]) -> None:
        self._dial = dial
        self.peer = Peer(dial())
        self._methods: list[str] = []
        """Those of the requests that were sent, and whose responses have not been read."""
        self._has_ended = False
        self._is_reading = False

    def exchange(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send a request and read its response."""
        self._send(environ)
        return self.read(environ, start_response)

    def send(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send a request; what is returned is nobody's response."""
        self._send(environ)
        start_response("204 No Content", [])
        return ()

    def read(self, _environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Read a response."""
        method = self._methods.pop(0) if self._methods else "GET"
        self._is_reading = True
        (status, headers), body = read_response(self.peer, method, self._body_read)
        self._has_ended = any(
            name.lower() == "connection" and value.lower() == "close" for name, value in headers
        )
        start_response(status, headers)
        return body

    def _body_read(self) -> None:
        self._is_reading = False

    def _send(self, environ: WSGIEnvironment) -> None:
        """Send a request, on a new connection where the one before has ended."""
        if self._has_ended or self.peer.is_closed:
            self.peer.leave()
            self.peer, self._has_ended, self._is_reading = Peer(self._dial()), False, False
            self._methods.clear()
        elif self._is_reading:
            raise RuntimeError("the response before has not been read to its end: use two clients")
        self._methods.append(environ["REQUEST_METHOD"])
        self.peer.send(request_bytes(environ))
