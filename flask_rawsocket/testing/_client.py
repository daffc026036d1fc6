"""`RawSocketClient`: Flask's test client, with a real connection under each request."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

from flask.testing import FlaskClient

from .. import _wsgi
from .._connection.exchange import SWITCHING
from ..extension import activate
from ..sockinfo import PeerCredentials
from ._exchange import Exchange
from ._pair import TRANSPORTS, Pair, server_context
from ._running import Running
from ._wire import NonEmpty, read_response

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from flask import Flask
    from werkzeug.datastructures import Headers

    from .._connection.connection import Connection
    from ._peer import Peer

__all__ = ["RawSocketClient"]

_DEFAULT_REMOTE_ADDR = "127.0.0.1"
"""What Flask's test client says where nobody says anything."""


class RawSocketClient(FlaskClient):
    """Flask's test client, whose requests come in on a real connection.

    The application is called in the test's own thread, as by Flask's client: its exceptions are the
    test's, and ``with client:`` keeps the request's context. `current_conn` is a managed connection
    whose other end is `peer`, kept alive from request to request; hooks are called before each
    method returns. Request and response do not travel over it; what a view that hijacks writes and
    reads does, and so does a response of ``rawsocket.events()`` and its like.

    Close it; the fixture ``rawsocket_client`` does.
    """

    def __init__(self, application: Flask, *args: Any, **kwargs: Any) -> None:
        super().__init__(application, *args, **kwargs)
        activate(application)
        self._pairs: list[Pair] = []
        """All that were made, by copies of this client too."""
        self._pair: Pair | None = None
        self._how: dict[str, Any] = {"transport": TRANSPORTS[0]}
        self._exchange: Exchange | None = None

    # The connection

    def connect(
        self,
        transport: str = "tcp",
        *,
        tls: bool | ssl.SSLContext = False,
        uid: int | None = None,
        gid: int | None = None,
        groups: Iterable[int] | None = None,
        pid: int | None = None,
    ) -> Peer:
        """Connect anew, and so from here on; the connection before is left as it is.

        Args:
            transport: ``tcp`` or ``unix``.
            tls: True for TLS with a certificate that is made at once, which needs `cryptography`;
                or the server's context.
            uid: the user id that a UNIX peer is said to have; by default it has this process's.
            gid: its group id, likewise.
            groups: its supplementary group ids, likewise; none where `uid` or `gid` is given.
            pid: its process id, likewise.

        Returns:
            The client's end.

        Raises:
            ValueError: there is no such transport, or a TCP peer is to have credentials.
            TypeError: `cryptography` is not installed.
        """
        pretended = None
        if any(each is not None for each in (uid, gid, groups, pid)):
            if transport != "unix":
                raise ValueError("only a UNIX peer has a uid, a gid, groups and a pid")
            pretended = _credentials(uid, gid, groups, pid)
        how = {"transport": transport, "context": server_context(tls), "credentials": pretended}
        self._pair = self._new_pair(how)
        self._how = how
        return self._pair.peer

    @property
    def peer(self) -> Peer:
        """The client's end of the connection; one that has ended stays until the next request."""
        return self._current().peer

    @property
    def conn(self) -> Connection:
        """The connection as the application has it."""
        return self._current().connection

    def close(self) -> None:
        """End all connections of this client; return when the hooks have been called."""
        while self._pairs:
            self._pairs.pop().close()
        self._pair = None

    def _current(self) -> Pair:
        if self._pair is None:
            self._pair = self._new_pair(self._how)
        return self._pair

    def _new_pair(self, how: dict[str, Any]) -> Pair:
        pair = Pair(**how)
        self._pairs.append(pair)
        return pair

    # Requests

    def start(self, *args: Any, **kwargs: Any) -> Running:
        """Make a request on a connection of its own, in a thread; return while it is running.

        Args:
            args: as of ``client.open()``, such as the path.
            kwargs: likewise, such as ``method`` and ``json``.

        Raises:
            RuntimeError: the client is in a ``with`` block, whose context would be the thread's.
        """
        if self.preserve_context:
            raise RuntimeError("start() does not work inside of `with client:`, which is a context")
        client = copy.copy(self)
        client._pair = client._exchange = None  # noqa: SLF001  a copy of this very object
        return Running(client, lambda: client.open(*args, **{"buffered": True, **kwargs}))

    @property
    def client_was_gone(self) -> bool:
        """Whether the view, or the stream, of the last request was stopped as its client had gone.

        That is by `RawSocket.stop_when_disconnected`, `checkpoint` or `until_disconnected`.
        """
        return self._exchange is not None and self._exchange.client_was_gone

    def run_wsgi_app(
        self,
        environ: WSGIEnvironment,
        buffered: bool = False,  # noqa: FBT001, FBT002  Werkzeug's signature
    ) -> tuple[Iterable[bytes], str, Headers]:
        calling = copy.copy(self)  # the cookies are the same
        calling.application = self._serve  # type: ignore[assignment]
        body, status, headers = FlaskClient.run_wsgi_app(calling, environ, buffered)
        return body if buffered else NonEmpty(body), status, headers

    def _serve(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Call the application as a server does."""
        if self._pair is None or not self._pair.takes_requests:
            self._pair = self._new_pair(self._how)
        pair = self._pair
        _describe(environ, pair)
        exchange = self._exchange = Exchange(environ, pair.send)
        pair.request_begins(environ, exchange)
        request = _Request(pair, exchange, environ)
        try:
            noting = exchange.noting(start_response)
            body = _wsgi.call(exchange, self.application, environ, noting)
            if exchange.hijacked:
                return request.hijacked(start_response)
            return request.body(body)
        except BaseException:
            request.end(failed=True)
            raise


class _Request:
    """A request in hand, whose response is read by the test."""

    def __init__(self, pair: Pair, exchange: Exchange, environ: WSGIEnvironment) -> None:
        self._pair = pair
        self._exchange = exchange
        self._method: str = environ["REQUEST_METHOD"]
        self._keep = environ.get("HTTP_CONNECTION", "").lower() != "close"

    def end(self, *, failed: bool = False) -> None:
        said = (self._exchange.header("connection") or "").lower()
        keep = self._keep and said != "close"
        self._pair.request_ended(self._exchange, keep=keep, failed=failed)

    def body(self, items: Iterable[bytes]) -> Iterable[bytes]:
        """Return the response's body: read, unless it is streamed."""
        streamed = self._exchange.announced_length() is None
        body = _Body(items, self)
        if streamed and self._exchange.has_body(self._method):
            return body
        try:
            return list(body)
        finally:
            body.close()

    def hijacked(self, start_response: StartResponse) -> Iterable[bytes]:
        """Return the body of the response that the connection's owner writes, if it writes one.

        Raises:
            ConnectionResetError: the application has aborted the connection.
        """
        self.end()
        if self._pair.was_reset:
            raise ConnectionResetError("the view has reset the connection")
        peer = self._pair.peer
        is_http = not peer.is_closed and (
            self._exchange.answers_in_http or peer.begins_with(b"HTTP/1.")
        )
        if not is_http:
            start_response(SWITCHING, [])
            return ()
        head, body = read_response(peer, self._method)
        start_response(*head)
        return body


class _Body:
    """A streamed body; the request ends with it."""

    def __init__(self, items: Iterable[bytes], request: _Request) -> None:
        self._items = items
        self._iterator = iter(items)
        self._request = request
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._iterator)
        except StopIteration:
            self.close()
            raise
        except BaseException:
            self._close(failed=True)
            raise

    def close(self) -> None:
        self._close()

    def _close(self, *, failed: bool = False) -> None:
        if not self._is_closed:
            self._is_closed = True
            try:
                _wsgi.close(self._items)
            finally:
                self._request.end(failed=failed)


def _describe(environ: WSGIEnvironment, pair: Pair) -> None:
    """Enter what a server says of a connection, where the test has not said anything else."""
    connection = pair.connection
    if connection.is_tls:
        environ["wsgi.url_scheme"] = "https"
    if connection.is_unix:
        if environ.get("REMOTE_ADDR") == _DEFAULT_REMOTE_ADDR:
            environ["REMOTE_ADDR"] = pair.address
    elif isinstance(pair.address, tuple):
        environ.setdefault("REMOTE_PORT", str(pair.address[1]))
    environ["SERVER_PROTOCOL"] = "HTTP/1.1"


_os: Any = os
"""Windows has no users of this kind, nor UNIX peers."""


def _credentials(
    uid: int | None, gid: int | None, groups: Iterable[int] | None, pid: int | None
) -> PeerCredentials:
    others = groups is None and uid is None and gid is None
    return PeerCredentials(
        pid=os.getpid() if pid is None else pid,
        uid=_os.geteuid() if uid is None else uid,
        gid=_os.getegid() if gid is None else gid,
        groups=tuple(_os.getgroups()) if others else tuple(groups or ()),
    )
