"""Connections of the test's own process."""

from __future__ import annotations

import contextlib
import socket

import pytest

from flask_rawsocket._sockets.listener import Listener


@pytest.fixture
def accepted(tracker):
    """Accept a TCP connection whose client sends, and leaves before the server closes."""

    @contextlib.contextmanager
    def accept(data=b""):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            sock, _ = Listener(listening, tracker).accept()
        with sock:
            client.sendall(data)
            yield sock
            client.close()

    return accept
