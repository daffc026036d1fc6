"""`Endpoint`: fetches the rows over HTTP, from a port or a UNIX socket, with TLS or without."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
import ssl
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

import click

from .._connection.address import AF_UNIX
from ._limited import LimitedResponse, whole
from ._table import Page, printable

__all__ = ["DEFAULT_URL", "Endpoint", "EndpointError", "without_userinfo"]

DEFAULT_URL = "http://127.0.0.1:8000/api/connections"
_TIMEOUT = 10.0
"""Seconds that connecting may take, and again the TLS handshake."""


class EndpointError(click.ClickException):
    """The rows cannot be fetched; the text is one sentence that says why."""


class Endpoint:
    """Where to fetch the rows.

    Args:
        url: the URL; if it has no path, that of the default is used.
        unix_socket: the path of a UNIX socket to connect to instead of the URL's host.
        insecure: accept any certificate.

    Raises:
        EndpointError: `url` is not an HTTP URL.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, unix_socket: str | None = None, insecure: bool = False
    ) -> None:
        self._unix_socket = unix_socket
        self._insecure = insecure
        self._parts = _split(url)

    def __str__(self) -> str:
        # For error texts: without the password.
        url = self._parts._replace(netloc=self._parts.netloc.rpartition("@")[2]).geturl()
        return url if self._unix_socket is None else f"{url} by way of {self._unix_socket}"

    def fetch(self) -> Page:
        """Fetch the rows.

        Raises:
            EndpointError: they cannot be fetched.
        """
        return self._page(self._body())

    def _body(self) -> bytes:
        try:
            with contextlib.closing(self._connection()) as connection:
                connection.request("GET", self._target(), headers=self._headers())
                with connection.getresponse() as response:
                    body = whole(response)
        except ssl.SSLCertVerificationError as exc:
            raise EndpointError(
                f"{self} has a certificate that cannot be verified ({exc.verify_message}): "
                "--insecure accepts any."
            ) from exc
        # ValueError: the host is not a valid name, or a chunk has a negative length.
        except (OSError, http.client.HTTPException, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            raise EndpointError(f"Cannot read {self}: {printable(reason)}.") from exc
        if response.status != http.client.OK:
            status = f"{response.status} {response.reason}".strip()
            raise EndpointError(f"{self} answers {printable(status)}.")
        return body

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        connection: http.client.HTTPConnection
        if self._parts.scheme == "http":
            kind = http.client.HTTPConnection if self._unix_socket is None else _UnixConnection
            connection = kind(host, port, timeout=_TIMEOUT)
        else:
            tls = http.client.HTTPSConnection if self._unix_socket is None else _UnixTLSConnection
            connection = tls(host, port, timeout=_TIMEOUT, context=_context(self._insecure))
        if isinstance(connection, _UnixConnection):
            connection.path = self._unix_socket or ""
        connection.response_class = LimitedResponse
        return connection

    def _target(self) -> str:
        path = self._parts.path or urlsplit(DEFAULT_URL).path
        query = f"?{self._parts.query}" if self._parts.query else ""
        return quote(path + query, safe="/%?&=+:@,;~!$'()*")

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Connection": "close"}
        if self._parts.username is not None:
            user = f"{unquote(self._parts.username)}:{unquote(self._parts.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        return headers

    def _page(self, body: bytes) -> Page:
        """Return the rows in an answer: a list, or an object with the list in a field."""
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise EndpointError(f"What {self} answers is not JSON.") from exc
        rows, pid = answer, None
        if isinstance(answer, dict):
            rows, pid = answer.get("connections"), answer.get("pid")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise EndpointError(f"What {self} answers is not a list of connections.")
        # True is an int too, but not the id of a process.
        return Page(rows, pid if type(pid) is int and pid > 0 else None)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    path: str

    def connect(self) -> None:
        """Connect to `path`."""
        if AF_UNIX < 0:
            raise OSError("this system has no UNIX sockets")
        self.sock = socket.socket(AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self.path)


class _UnixTLSConnection(http.client.HTTPSConnection, _UnixConnection):
    """HTTPS over a UNIX socket: the first base does the handshake, the second one connects."""


def _split(url: str) -> SplitResult:
    """Split `url` into its parts.

    Raises:
        EndpointError: it is not an HTTP URL.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # an impossible port or IPv6 address
        usable = False
    if not usable:
        raise EndpointError(
            f"{without_userinfo(url)} is not a URL that begins with http:// or https:// and a host."
        )
    return parts


_USERINFO: Final = re.compile(r"^([a-z][a-z0-9+.-]*:/+(?=.*@))?.*@", re.IGNORECASE | re.DOTALL)


def without_userinfo(url: str) -> str:
    """Return `url`, which may be malformed, without a user name and password.

    Where they end cannot be told in a malformed URL, so everything up to the last ``@`` goes.
    """
    return _USERINFO.sub(r"\1", url)


def _context(insecure: bool) -> ssl.SSLContext:  # noqa: FBT001
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
