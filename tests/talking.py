"""WebSocket clients over the connections of our tests: that of `websockets`, and raw frames."""

from __future__ import annotations

import base64
import contextlib
import os
import ssl

from servers import client_context
from websockets.sync.client import connect


@contextlib.contextmanager
def talking(server, path, **options):
    """Connect a client of `websockets`."""
    sock = server.raw()
    sock.settimeout(None)
    if server.transport == "tls":
        context = client_context()
        # The client reads and writes in two threads, which OpenSSL does not allow: what the server
        # sends by itself in TLS 1.3, a session's ticket, has cost requests. Python 3.13 has a lock.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        sock = context.wrap_socket(sock, server_hostname="localhost")
    options.setdefault("compression", None)
    with (
        contextlib.closing(sock),
        connect(f"ws://test{path}", sock=sock, proxy=None, **options) as ws,
    ):
        yield ws


def handshake(client, path, *headers, **more):
    """Shake hands; give the response's head."""
    client.get(
        path,
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        *headers,
        **more,
    )
    head, client.buffered = client._until(b"\r\n\r\n")
    return head.decode().split("\r\n")


def frame(opcode, payload, *, final=True):
    """Return a short frame of a client, masked with zeros."""
    assert len(payload) < 126
    return bytes([opcode | 0x80 * final, 0x80 | len(payload)]) + bytes(4) + payload
