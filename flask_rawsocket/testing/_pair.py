"""`Pair`: two ends of a real connection in one process, of which one is tracked."""

from __future__ import annotations

import contextlib
import functools
import shutil
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.serving import generate_adhoc_ssl_context

from .. import _wsgi
from .._connection import ending
from .._connection.address import AF_UNIX
from .._connection.connection import Connection, life_of
from .._connection.state import CloseReason
from .._sockets.listener import Listener
from .._sockets.tls_context import track_tls
from .._tracking.tracker import process_tracker
from ..errors import RawSocketError
from ..sockinfo import PeerStatus
from ._peer import TIMEOUT, Peer, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from wsgiref.types import WSGIEnvironment

    from ..sockinfo import PeerCredentials
    from ._exchange import Exchange

__all__ = ["TRANSPORTS", "Pair", "listening", "server_context", "wrap_client"]

TRANSPORTS = ("tcp", "unix")

_SEEN = 1.0
"""Seconds that our end has to see what the client's end has done."""


class _Connection(Connection):
    """A connection whose UNIX peer may be said to be another."""

    __slots__ = ("pretended",)

    pretended: PeerCredentials | None

    def peer_credentials(self) -> PeerCredentials:
        kernels = super().peer_credentials()
        return getattr(self, "pretended", None) or kernels


class _Listener(Listener):
    connection_class = _Connection


class Pair:
    """A connection to no server; the test's own thread is the server's.

    Args:
        transport: one of `TRANSPORTS`.
        context: the server's TLS context; None for no TLS.
        credentials: what a UNIX peer is said to be; None for what it is.
    """

    def __init__(
        self,
        transport: str,
        context: ssl.SSLContext | None = None,
        credentials: PeerCredentials | None = None,
    ) -> None:
        self._lock = threading.RLock()
        """Guards who closes our end: the test's thread, or that of a running request."""
        with listening(transport) as sock:
            client = socket.socket(sock.family)
            client.connect(sock.getsockname())
            accepted, self.address = _Listener(sock, process_tracker).accept()
        connection: Any = accepted.connection
        connection.pretended = credentials
        self.connection: Connection = connection
        self._sock: Any = accepted
        self._duties: Any = accepted.duties
        process_tracker.run_hooks(connection)
        if context is not None:
            try:
                client, self._sock = _shake_hands(client, accepted, context)
            except BaseException:
                client.close()
                accepted.close()
                raise
        self.peer = Peer(client, self._peer_has_ended)

    @property
    def takes_requests(self) -> bool:
        """Whether the next request may come in on it."""
        life = life_of(self.connection)
        usable = not (life.is_closed() or life.is_hijacked() or self.peer.is_closed)
        return usable and life.exchange is None

    @property
    def was_reset(self) -> bool:
        """Whether the application has aborted it."""
        aborted: bool = self._duties.is_aborted
        return aborted

    def send(self, data: bytes) -> None:
        """Write to the client, as a server does."""
        self._sock.sendall(data)

    def request_begins(self, environ: WSGIEnvironment, exchange: Exchange) -> None:
        """A request is in hand, whose head has been read.

        Raises:
            ConnectionResetError: the application has aborted the connection.
        """
        self._sock.begin_request()
        self._sock.head_complete()
        life = life_of(self.connection)
        ending.request_begun(life)
        life.exchange = exchange
        _wsgi.put(environ, self.connection, exchange)

    def request_ended(self, exchange: Exchange, *, keep: bool, failed: bool = False) -> None:
        """The response has ended: keep the connection, or close it as a server would.

        Args:
            exchange: the request that was in hand.
            keep: whether the request lets it be kept.
            failed: whether the application has failed with an exception that nobody caught.
        """
        with self._lock:
            self._end_request(exchange, closes=failed or not keep, failed=failed)

    def _end_request(self, exchange: Exchange, *, closes: bool, failed: bool) -> None:
        life = life_of(self.connection)
        if life.exchange is not exchange:
            return
        closes = closes or self.was_reset or life.force_close
        # A test is to find its callbacks called, however late the kernel's report is.
        is_gone = not self.was_reset and self._peer_is_gone()
        process_tracker.request_ended(self.connection, peer_is_gone=is_gone)
        if exchange.hijacked:
            return
        self._sock.lift_deadlines()
        if closes and not failed:
            ending.answered(life)
        elif not closes:
            ending.reset(life)
        if closes or self._peer_is_gone():
            self._sock.close()
        else:
            self._sock.await_request()

    def close(self) -> None:
        """End both ends; return when the hooks have run."""
        life = life_of(self.connection)
        ending.note(life, CloseReason.STOPPED)
        self.peer.leave()
        if life.is_hijacked():
            with contextlib.suppress(AssertionError):  # its owner may end it by itself
                wait_for(life.is_closed, timeout=_SEEN)
        sock: Any = life.open_sock()
        if sock is not None:
            sock.end()
        self._sock.close()
        process_tracker.wait_closed(TIMEOUT)

    def _peer_is_gone(self) -> bool:
        try:
            return self.connection.peer_status() is not PeerStatus.OPEN
        except (RawSocketError, NotImplementedError):
            return True

    def _peer_has_ended(self) -> None:
        """Let our end see it before the test goes on; between requests, close as a server does."""
        with contextlib.suppress(AssertionError):  # too much unread data is before it
            wait_for(self._peer_is_gone, timeout=_SEEN)
        life = life_of(self.connection)
        with self._lock:
            if life.exchange is None and not (life.is_hijacked() or life.is_closed()):
                self._sock.close()


@contextlib.contextmanager
def listening(transport: str) -> Iterator[socket.socket]:
    """Inside, a socket of this machine's own listens.

    Raises:
        ValueError: `transport` is not one of `TRANSPORTS`.
    """
    if transport not in TRANSPORTS:
        raise ValueError(f"the transport is one of {', '.join(TRANSPORTS)}, not {transport!r}")
    if transport == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as sock:
            yield sock
        return
    folder = tempfile.mkdtemp(prefix="rawsocket-")
    try:
        with socket.socket(AF_UNIX) as sock:
            sock.bind(str(Path(folder, "s")))
            sock.listen()
            yield sock
    finally:
        shutil.rmtree(folder)


@functools.cache
def _adhoc_context() -> ssl.SSLContext:
    """Return a context with a certificate for these tests; Werkzeug makes it of `cryptography`."""
    return generate_adhoc_ssl_context()


def server_context(tls: bool | ssl.SSLContext) -> ssl.SSLContext | None:  # noqa: FBT001
    """Return the server's context; None for no TLS.

    Args:
        tls: True for a certificate that is made at once, or a context.

    Raises:
        TypeError: `cryptography`, which makes the certificate, is not installed.
    """
    if isinstance(tls, ssl.SSLContext):
        return track_tls(tls)
    return track_tls(_adhoc_context()) if tls else None


def wrap_client(sock: socket.socket) -> ssl.SSLSocket:
    """Shake hands as a client that trusts any certificate: the server is the test's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname="localhost")


def _shake_hands(client: socket.socket, accepted: Any, context: ssl.SSLContext) -> tuple[Any, Any]:
    """Return both ends with TLS; each waits for the other, so one is in a thread."""
    found: list[Any] = []

    def shake() -> None:
        try:
            found.append(context.wrap_socket(accepted, server_side=True))
        except OSError as exc:
            found.append(exc)

    thread = threading.Thread(target=shake, name="rawsocket-handshake", daemon=True)
    thread.start()
    client.settimeout(TIMEOUT)
    wrapped = wrap_client(client)
    thread.join(TIMEOUT)
    if not found or isinstance(found[0], OSError):
        wrapped.close()
        raise found[0] if found else TimeoutError("the TLS handshake took too long")
    return wrapped, found[0]
