"""Real accepted connections without a server: a listener of ours, and a client's socket."""

from __future__ import annotations

import socket

from flask_rawsocket._connection.connection import life_of
from flask_rawsocket._connection.exchange import Exchange
from flask_rawsocket._sockets.listener import Listener


class PlainExchange(Exchange):
    """The request in hand of a server without read-ahead, whose view has not begun its response."""

    def has_begun(self):
        return False

    def _is_in_chunked_body(self):
        return False

    def _take_read_ahead(self):
        return b""

    def force_close(self):
        pass

    let_go = no_response = complain = read_failed = _may_read_yet = _has_sent_head = _send = None


def begin_request(connection):
    """Have a request in hand on `connection`, as a server has when it calls the view."""
    life_of(connection).exchange = PlainExchange()


def take(tracker, client, sock):
    """Let a request come, and take its connection over; give that and the stream."""
    client.sendall(b"x")
    assert sock.recv(1) == b"x"
    connection = sock.connection
    begin_request(connection)
    return connection, tracker.hijack(connection)


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
