"""A small blocking HTTP/1.1 client: one exchange on one connection, checked.

For readiness, warm-up, the idle connections and the latency; the load comes from
wrk and from ``load.py``.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import BODY

if TYPE_CHECKING:
    from pathlib import Path

REQUEST = b"GET / HTTP/1.1\r\nHost: benchmark\r\n\r\n"
LAST_REQUEST = b"GET / HTTP/1.1\r\nHost: benchmark\r\nConnection: close\r\n\r\n"

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_MAX_ANSWER = 65536


class BadAnswerError(Exception):
    """The server answered something else than ``200`` and the text we know."""


@dataclass(frozen=True)
class Endpoint:
    """Where the measured server listens: loopback TCP, with or without TLS, or UNIX."""

    host: str = "127.0.0.1"
    port: int = 0
    path: Path | None = None
    certificate: Path | None = None

    @property
    def bind(self) -> str:
        """The address as ``gunicorn --bind`` wants it."""
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address as wrk wants it; wrk knows no UNIX sockets."""
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://{self.host}:{self.port}/"

    def connect(self, timeout: float) -> socket.socket:
        """Connect, TLS handshake included; ``timeout`` also holds for what follows."""
        sock = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET)
        try:
            sock.settimeout(timeout)
            sock.connect(str(self.path) if self.path else (self.host, self.port))
            if self.certificate:
                context = ssl.create_default_context(cafile=self.certificate)
                return context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
        return sock


def exchange(sock: socket.socket, request: bytes = REQUEST) -> bytes:
    """Send one request and return the head of its answer.

    Raises:
        BadAnswerError: another status, another body, or the connection ended.
        OSError: as the socket says, timeouts included.

    """
    sock.sendall(request)
    answer = b""
    while (end := answer_end(answer)) is None:
        chunk = sock.recv(_MAX_ANSWER)
        if not chunk:
            raise BadAnswerError(f"the connection ended after {len(answer)} bytes")
        answer += chunk
        if len(answer) > _MAX_ANSWER:
            raise BadAnswerError("the answer has no end")
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise BadAnswerError(answer.partition(b"\r\n")[0].decode("latin-1"))
    head, _, body = answer[:end].partition(_HEAD_END)
    if body != BODY.encode():
        raise BadAnswerError(f"another body: {body[:60]!r}")
    return head


def answer_end(answer: bytes) -> int | None:
    """Say where the answer that ``answer`` begins with ends; None if it is not all here.

    Raises:
        BadAnswerError: the head says no Content-Length.

    """
    head_end = answer.find(_HEAD_END)
    if head_end < 0:
        return None
    length = _LENGTH.search(answer, 0, head_end)
    if length is None:
        raise BadAnswerError("no Content-Length: " + answer[:head_end].decode("latin-1"))
    end = head_end + len(_HEAD_END) + int(length[1])
    return end if len(answer) >= end else None


def get_once(endpoint: Endpoint, timeout: float) -> None:
    """Make one GET on a connection of its own."""
    with endpoint.connect(timeout) as sock:
        exchange(sock, LAST_REQUEST)


def warm_up(endpoint: Endpoint, requests: int, timeout: float = 10.0) -> None:
    """Make ``requests`` GETs, one after the other, each on its own connection."""
    for _ in range(requests):
        get_once(endpoint, timeout)
