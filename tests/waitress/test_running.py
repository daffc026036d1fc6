"""waitress, managed, in this process: how it accepts, ends connections, and ends."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import socket
import threading

import pytest
import waitress
from flask import Flask, Response
from servers import PATIENCE, Client, wait_for
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.wasyncore import close_all

from flask_rawsocket import CloseReason, ConnState, RawSocket, current_conn
from flask_rawsocket.waitress import create_server

pytestmark = pytest.mark.slow

LARGE = 12_000_000
"""The bytes of a response that no buffer of the kernel's takes whole."""


class Quit:
    """Ends the main loop that asks it, as a signal's handler does."""

    accepting = False

    def readable(self):
        raise SystemExit

    def close(self):
        pass


class Running:
    """A server, its thread, and the connections that its views have seen."""

    def __init__(self, stack, addresses=1, path=None, **adjustments):
        self.app = Flask(__name__)
        self.rawsocket = RawSocket(self.app)
        self.seen = []
        self.app.before_request(lambda: self.seen.append(current_conn._get_current_object()))
        self.app.add_url_rule("/", "here", view_func=lambda: "here")
        self.app.add_url_rule("/large", "large", view_func=self.large)
        self.made = []
        """One for each large response that is complete, as far as its view is concerned."""
        if path is None:
            self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(addresses)]
        else:
            self.sockets = [socket.socket(socket.AF_UNIX)]
            self.sockets[0].bind(path)
            self.sockets[0].listen(64)
        self.names = [each.getsockname() for each in self.sockets]
        self.map = adjustments.setdefault("map", {})
        self.server = create_server(self.app, sockets=self.sockets, **adjustments)
        self.failures = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self._stack = stack
        stack.callback(self.stop)

    def large(self):
        response = Response(b"x" * LARGE)
        response.call_on_close(lambda: self.made.append(1))
        return response

    def _run(self):
        try:
            self.server.run()
        except Exception as exc:  # noqa: BLE001  the test looks at it
            self.failures.append(exc)

    def connect(self, number=0):
        return self._stack.enter_context(Client.to(self.names[number]))

    def wake(self):
        """Have the main loop ask for what there is."""
        with contextlib.suppress(OSError):
            Client.to(self.names[0]).close()

    def stop(self):
        """Stop it; that may have been done."""
        self.map[-1] = Quit()
        self.wake()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        close_all(self.map, ignore_all=True)
        for each in self.sockets:
            each.close()

    def reasons(self):
        """Wait until all that a view has seen is CLOSED; return why."""
        wait_for(lambda: all(each.state is ConnState.CLOSED for each in self.seen), "all ends")
        return [each.close_reason for each in self.seen]


@pytest.mark.parametrize("addresses", [1, 2])
def test_a_stop(stack, addresses):
    """What it ends is STOPPED, whether waitress has closed it or not."""
    server = Running(stack, addresses)
    for number in range(addresses):
        assert server.connect(number).request().status == 200
    server.stop()
    assert server.reasons() == [CloseReason.STOPPED] * addresses
    assert not server.failures


def test_a_stop_beside_another_server(stack):
    """It ends its own connections."""
    one, other = Running(stack), Running(stack)
    client = other.connect()
    assert client.request().status == 200
    one.stop()
    assert client.request().status == 200
    assert other.seen[0].state is not ConnState.CLOSED


def test_a_close(stack):
    """The server's own `close()`, in another thread, ends it without a failure."""
    server = Running(stack)
    server.server.close()
    server.wake()
    server.thread.join(PATIENCE)
    assert not server.thread.is_alive()
    assert not server.failures


def test_what_is_late(stack):
    """The main loop has ended: a thread that is late wakes nobody, and harms no descriptor."""
    server = create_server(lambda *_args: [], sockets=[socket.create_server(("127.0.0.1", 0))])
    server.close()
    one, two = socket.socketpair()
    stack.enter_context(one)
    stack.enter_context(two).settimeout(0)
    server.pull_trigger()
    with pytest.raises(BlockingIOError):
        two.recv(1)


@pytest.mark.parametrize("header", ["Connection: close", "X: y"])
def test_a_client_that_leaves_a_response(stack, header):
    """The view is done, and the response is not out: the client has ended the connection."""
    server = Running(stack)
    client = server.connect()
    client.get("/large", header)
    client.sock.recv(1)
    wait_for(lambda: server.made, "the response to be made")
    client.reset()
    assert server.reasons() == [CloseReason.PEER_RESET]


def test_clients_that_leave_behind_their_response(stack, tmp_path):
    """Whichever way the main loop hears of that: their response was complete."""
    server = Running(stack, path=str(tmp_path / "s"), threads=8)

    def ask():
        for _ in range(60):
            with Client.to(server.names[0]) as client:
                client.get("/", "Connection: close")
                client.sock.shutdown(socket.SHUT_WR)
                assert client.response().status == 200

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(PATIENCE)
    assert server.reasons() == [CloseReason.RESPONSE_COMPLETE] * 480


def test_what_comes_too_slowly(stack):
    """`channel_timeout` ends it, also where the client takes nothing; the reason says what."""
    server = Running(stack, channel_timeout=1, cleanup_interval=1)
    for header in "Connection: close", "X: y":
        server.connect().get("/large", header)
    sending = server.connect()
    assert sending.request().status == 200
    sending.get("/", "Content-Length: 10", method="POST", body=b"x")
    found = sorted(each.name for each in server.reasons())
    assert found == ["BODY_TOO_SLOW", "SLOW_READER", "SLOW_READER"]


def test_an_error_that_is_not_logged(stack):
    """A response that breaks off by an OSError is not taken for a complete one."""
    server = Running(stack, log_socket_errors=False)

    def failing():
        yield b"begun"
        raise OSError(errno.EIO, "of a file")

    server.app.add_url_rule("/fails", "fails", view_func=lambda: Response(failing()))
    client = server.connect()
    client.get("/fails")
    assert not client.rest().endswith(b"0\r\n\r\n")
    assert server.reasons() == [CloseReason.RESPONSE_BROKEN]


def test_options_that_are_refused(stack, monkeypatch):
    """A connection that does not take an option is closed, and forgotten."""
    monkeypatch.setattr(Adjustments, "socket_options", [(socket.SOL_TCP, 9999, 1)])
    server = Running(stack)
    before = len(server.rawsocket.connections)
    for _ in range(3):
        assert server.connect().at_eof()
    wait_for(lambda: len(server.rawsocket.connections) == before, "the ends")


def test_no_descriptor_is_left(stack, caplog):
    """It says so once, leaves the connection in the backlog for a moment, and accepts it then."""
    server = Running(stack)
    accept, attempts = server.server.socket._accept, []

    def accept_later():
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError(errno.EMFILE, "too many open files")
        return accept()

    server.server.socket._accept = accept_later
    with caplog.at_level(logging.ERROR, "waitress"):
        assert server.connect().request().status == 200
    assert len(attempts) == 3
    assert [each.message for each in caplog.records if "Cannot accept" in each.message] == [
        "Cannot accept connections: [Errno 24] too many open files"
    ]


def test_a_hijack_collects_no_garbage(stack):
    """A stream that is kept is no sign of a view that has failed."""
    server, streams, collections = Running(stack), [], []

    def keep():
        streams.append(stack.enter_context(current_conn.hijack()))
        return ""

    server.app.add_url_rule("/keep", view_func=keep)

    def collecting(phase, info):
        collections.append(info["generation"])

    gc.disable()
    gc.callbacks.append(collecting)
    try:
        for _ in range(3):
            server.connect().get("/keep")
        wait_for(lambda: len(streams) == 3, "the hijacks")
        server.stop()  # the views have returned
    finally:
        gc.callbacks.remove(collecting)
        gc.enable()
    assert not collections


def test_a_map_that_others_use(stack):
    """A plain server that stands in the same map stays as it is."""
    shared = {}
    plain = waitress.create_server(lambda *_args: [], map=shared, host="127.0.0.1", port=0)
    stack.callback(plain.close)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ours = create_server(lambda *_args: [], map=shared, sockets=sockets)
    stack.callback(ours.close)
    assert plain.channel_class is HTTPChannel
