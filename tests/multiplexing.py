"""A client of HTTP/2 for tests, which does what it is told and nothing else."""

from __future__ import annotations

import socket

import pytest
from servers import client_context

h2_connection = pytest.importorskip("h2.connection", reason="needs h2: pip install h2")
h2_events = pytest.importorskip("h2.events")
h2_settings = pytest.importorskip("h2.settings")
http2_connection = pytest.importorskip("gunicorn.http2.connection")

needs_pump = pytest.mark.skipif(
    not hasattr(http2_connection.HTTP2ServerConnection, "pump"), reason="gunicorn before 27.0"
)


def recorded(server, before, **wanted):
    """Return what the application has recorded since `before` that has `wanted`, if anything."""
    found = [each for each in server.events()[before:] if wanted.items() <= each.items()]
    return found[0] if found else None


def events(found, name):
    """Return those of the events `found` whose class's name has `name` in it."""
    return [each for each in found if name in type(each).__name__]


class Client:
    """An HTTP/2 client that does what it is told and nothing else."""

    def __init__(self, server):
        self.sock = server.raw()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as browsers do
        if server.transport == "tls":
            context = client_context()
            context.set_alpn_protocols(["h2"])
            self.sock = context.wrap_socket(self.sock)
            assert self.sock.selected_alpn_protocol() == "h2"
        self.h2 = h2_connection.H2Connection()
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.sock.close()

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def begin(self, path, *, end=True):
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", "GET" if end else "POST"), (":path", path)]
        fields += [(":scheme", "https"), (":authority", "test")]
        self.h2.send_headers(stream, fields, end_stream=end)
        return stream

    def answers(self, *streams):
        """Read until each of `streams` has ended; give their bodies."""
        bodies, open_streams = dict.fromkeys(streams, b""), set(streams)
        while open_streams:
            data = self.sock.recv(65536)
            assert data, "the server has closed"
            for event in self.h2.receive_data(data):
                if isinstance(event, h2_events.DataReceived):
                    bodies[event.stream_id] += event.data
                elif isinstance(event, h2_events.StreamEnded):
                    open_streams.discard(event.stream_id)
            self.flush()
        return [bodies[each] for each in streams]

    def drain(self):
        """Read to the end of the connection; give what came."""
        parts = []
        while data := self.sock.recv(65536):
            parts.append(data)
        return b"".join(parts)

    def has_pong(self):
        """Read; tell whether a PING has been answered."""
        return bool(events(self.h2.receive_data(self.sock.recv(65536)), "PingAck"))

    def request(self, path):
        stream = self.begin(path)
        self.flush()
        return self.answers(stream)[0]
