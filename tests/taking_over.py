"""Taking accepted connections over without a server."""

from __future__ import annotations


class Request:
    """The request in hand, as a server without read-ahead has it."""

    def refusal(self):
        return None

    def release(self):
        return b""


def take(tracker, client, sock):
    """Let a request come, and take its connection over; give that and the stream."""
    client.sendall(b"x")
    assert sock.recv(1) == b"x"
    connection = sock.connection
    connection._exchange = Request()
    return connection, tracker.hijack(connection)
