"""`RawSocketServer`: the development server in a thread, for a test."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .._connection.address import AF_UNIX
from .._tracking.tracker import process_tracker
from ..extension import activate
from ..serving import ThreadedWSGIServer
from ._pair import TRANSPORTS, server_context, wrap_client
from ._peer import TIMEOUT, wait_for
from ._socket_client import SocketClient

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import Self

    from flask import Flask

__all__ = ["RawSocketServer"]

_POLL: Final = 0.02
"""How often, in seconds, the server looks whether it is to stop."""


class _Server(ThreadedWSGIServer):
    accepted = 0
    """How many connections are, or were, in the map."""

    def get_request(self) -> tuple[Any, Any]:
        found = super().get_request()
        self.accepted += 1
        return found


class RawSocketServer:
    """The server of ``flask rawsocket run`` in a thread of this process, until it is closed.

    The fixture ``rawsocket_server`` makes one; it is a context manager.

    Args:
        app: the application.
        transport: ``tcp``, for a free port of this machine's own, or ``unix``.
        tls: True for TLS with a certificate that is made at once, which needs `cryptography`; or
            the server's context.

    Attributes:
        url: what to ask for with a client of your own; that of a UNIX socket has no port.
        path: of the UNIX socket; None of a TCP server.

    Raises:
        ValueError: there is no such transport.
        TypeError: `cryptography` is not installed.
    """

    def __init__(
        self, app: Flask, transport: str = "tcp", *, tls: bool | ssl.SSLContext = False
    ) -> None:
        if transport not in TRANSPORTS:
            raise ValueError(f"the transport is one of {', '.join(TRANSPORTS)}, not {transport!r}")
        activate(app)
        self._app = app
        self._tls = bool(tls)
        self._clients: list[SocketClient] = []
        self._folder = tempfile.mkdtemp(prefix="rawsocket-") if transport == "unix" else None
        self.path = str(Path(self._folder, "s")) if self._folder else None
        host = f"unix://{self.path}" if self.path else "127.0.0.1"
        context = server_context(tls)
        self._server = _Server(host, 0, app, ssl_context=context)
        self._dialled = 0
        self._address: Any = self._server.socket.getsockname()
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://localhost" if self.path else f"{scheme}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="rawsocket-server", daemon=True
        )
        self._thread.start()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<RawSocketServer {self.path or self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def port(self) -> int | None:
        """The TCP port; None of a UNIX server."""
        return None if self.path else int(self._address[1])

    def connect(self) -> SocketClient:
        """Return a client with a connection of its own, which is there already."""
        client = SocketClient(self._app, self._dial)
        self._clients.append(client)
        return client

    def wait_closed(self, timeout: float = TIMEOUT) -> None:
        """Wait until this server has no connection any more, and the hooks have been called.

        Args:
            timeout: in seconds.

        Raises:
            AssertionError: it has.
        """
        wait_for(lambda: not self._open(), f"{self!r} to have no connection any more", timeout)
        if not process_tracker.wait_closed(timeout):
            raise AssertionError(f"hooks are still running: {process_tracker.unfinished_hooks()}")

    def close(self) -> None:
        """Stop the server as Ctrl-C does: functions of ``on_shutdown`` are called, too."""
        if self._is_closed:
            return
        self._is_closed = True
        for client in self._clients:
            client.close()
        self._server.shutdown()
        self._thread.join(TIMEOUT)
        self._server.server_close()
        if self._folder:
            shutil.rmtree(self._folder)

    def _open(self) -> list[Any]:
        alive = process_tracker.connections.values()
        return [each for each in alive if each.local_address == self._address]

    def _dial(self) -> socket.socket:
        sock = socket.socket(AF_UNIX if self.path else socket.AF_INET)
        sock.settimeout(TIMEOUT)
        try:
            sock.connect(self.path or self._address)
            self._dialled += 1
            # So that a test which waits for its end does not find that there is none yet.
            wait_for(lambda: self._server.accepted >= self._dialled, "an accept")
            return wrap_client(sock) if self._tls else sock
        except BaseException:
            sock.close()
            raise
