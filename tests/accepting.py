"""Real accepted connections without a server: a listener of ours, and a client's socket."""

from __future__ import annotations

import socket

from flask_rawsocket._sockets.listener import Listener


def unix_listener(tracker, stack, path):
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
    sock.bind(str(path))
    sock.listen(1024)
    return Listener(sock, tracker)


def tcp_listener(tracker, stack):
    sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return Listener(sock, tracker)


def dial(stack, listener, source=None):
    """Connect to `listener`; give the client's socket and the accepted one."""
    name = listener.getsockname()
    client = stack.enter_context(
        socket.socket(socket.AF_UNIX if isinstance(name, str) else socket.AF_INET)
    )
    if not isinstance(name, str):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(source or ("127.0.0.1", 0))
    client.connect(name)
    sock, _ = listener.accept()
    return client, stack.enter_context(sock)
