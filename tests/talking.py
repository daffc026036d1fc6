"""The client of `websockets`, over the connections of our tests."""

from __future__ import annotations

import contextlib

from websockets.sync.client import connect


@contextlib.contextmanager
def talking(server, path, **options):
    """Connect a client of `websockets`."""
    client = server.connect()
    client.sock.settimeout(None)
    options.setdefault("compression", None)
    with (
        contextlib.closing(client.sock),
        connect(f"ws://test{path}", sock=client.sock, proxy=None, **options) as ws,
    ):
        yield ws
