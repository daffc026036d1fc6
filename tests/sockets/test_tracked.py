"""What a tracked socket does with deadlines, and what stays a socket's; no server."""

from __future__ import annotations

import threading
import time

import pytest
from accepting import begin_request, dial, tcp_listener

from flask_rawsocket import CloseReason
from flask_rawsocket._sockets.deadlines import HeaderTimeoutError


def test_the_head_is_due_from_its_first_byte(tracker, stack):
    """A head that dribbles is late; the connection is ACTIVE, and its end an error."""
    tracker.settings.header_timeout = 0.05
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.sendall(b"GET")
    assert sock.recv(100) == b"GET"
    with pytest.raises(HeaderTimeoutError, match="too slowly"):
        sock.recv(100)
    connection = sock.connection
    sock.close()
    assert connection.close_reason.group is CloseReason.ERROR


def test_a_head_that_never_comes(tracker, stack):
    """Who waits by reading is let go too; then no request came."""
    tracker.settings.header_timeout = 0.05
    _, sock = dial(stack, tcp_listener(tracker, stack))
    sock.expect_head()
    with pytest.raises(HeaderTimeoutError, match="no request came"):
        sock.recv_into(bytearray(1))
    connection = sock.connection
    sock.close()
    assert connection.close_reason.group is CloseReason.KEEPALIVE_TIMEOUT


def test_no_limit(tracker, stack):
    """None is no limit."""
    tracker.settings.header_timeout = None
    client, sock = dial(stack, tcp_listener(tracker, stack))
    sock.expect_head()
    client.sendall(b"x")
    sock.recv(1)
    assert sock.duties.read is None


def test_a_read_deadline_bounds_the_whole(tracker, stack):
    """Bytes that dribble in do not extend it."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    client.sendall(b"x")
    sock.recv(1)
    sock.head_complete()
    begin_request(connection)
    connection.set_deadlines(read=0.1)
    stop = threading.Event()

    def dribble():
        while not stop.wait(0.01):
            client.sendall(b"x")

    dribbler = threading.Thread(target=dribble)
    dribbler.start()
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="read deadline"):
        while True:
            sock.recv(1)
    assert time.monotonic() - began < 5
    stop.set()
    dribbler.join()
    connection.set_deadlines(read=None)
    client.sendall(b"x")
    assert sock.recv(1) == b"x"


@pytest.mark.parametrize("how", ["send", "sendall", "sendfile"])
def test_a_write_deadline(tracker, stack, tmp_path, how):
    """Writing to a peer that does not read fails in time, however it is done."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    begin_request(sock.connection)
    sock.connection.set_deadlines(write=0.1)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 50_000_000)
    with path.open("rb") as file, pytest.raises(TimeoutError, match="write deadline"):
        while True:
            if how == "sendfile":
                sock.sendfile(file)
            else:
                getattr(sock, how)(b"x" * 100_000)


def test_sendfile_before_its_deadline(tracker, stack, tmp_path):
    """With time enough a file arrives whole, or as much of it as was asked for."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    begin_request(sock.connection)
    sock.connection.set_deadlines(write=10)
    with path.open("rb") as file:
        assert sock.sendfile(file, 2, 5) == 5
        assert sock.sendfile(file) == 10
    sock.connection.set_deadlines(write=None)
    with path.open("rb") as file:
        assert sock.sendfile(file) == 10
    sock.close()
    data = b""
    while chunk := client.recv(100):
        data += chunk
    assert data == b"23456" + b"0123456789" * 2
