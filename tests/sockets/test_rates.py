"""The minimum data rates of one socket, and which of its calls they hold for; no server."""

from __future__ import annotations

import io
import threading

import pytest
from accepting import PlainExchange, dial, tcp_listener, unix_listener

from flask_rawsocket import InvalidStateError, UnsupportedError
from flask_rawsocket._connection.connection import life_of
from flask_rawsocket._sockets.deadlines import WriteDeadlineError
from flask_rawsocket._sockets.rates import BodyWait


class Begun(PlainExchange):
    """A request whose response is being sent."""

    def has_begun(self):
        return True


@pytest.fixture(params=["tcp", "unix"])
def pair(request, tracker, stack, tmp_path):
    """A client's socket, and the server's end, whose request's head has been read."""
    tracker.settings.min_body_rate = tracker.settings.min_response_rate = 1e6
    tracker.settings.rate_grace = 0.05
    listener = (
        tcp_listener(tracker, stack)
        if request.param == "tcp"
        else unix_listener(tracker, stack, tmp_path / "s")
    )
    client, sock = dial(stack, listener)
    client.sendall(b"x")
    assert sock.recv(1) == b"x"
    sock.head_complete()
    life_of(sock.connection).exchange = Begun()
    return client, sock


def later(call, *args):
    """Have `call` made in a moment, which is longer than the grace."""
    timer = threading.Timer(0.3, call, args)
    timer.start()
    return timer


@pytest.mark.parametrize("how", ["recv", "recv_into"])
def test_a_body_that_comes_too_slowly(pair, how):
    """Waiting for it fails when the grace is over; what has come is read all the same."""
    client, sock = pair
    read = sock.recv if how == "recv" else lambda size: sock.recv_into(bytearray(size))
    with life_of(sock.connection).exchange:
        client.sendall(b"y")
        assert read(1)
        with pytest.raises(TimeoutError, match="the body came too slowly"):
            read(1)
        client.sendall(b"y")
        assert read(1)


def test_what_a_view_reads_by_itself(pair):
    """Who reads from the socket, and not from the request's body, may wait for any time."""
    client, sock = pair
    timer = later(client.sendall, b"z")
    assert sock.recv(1) == b"z"
    timer.join()


@pytest.mark.parametrize("lifted", [None, 0])
def test_rates_that_are_lifted(pair, lifted):
    """The view waits for any time then, until its request ends."""
    client, sock = pair
    sock.connection.set_min_rates(read=lifted)
    with life_of(sock.connection).exchange:
        timer = later(client.sendall, b"z")
        assert sock.recv(1) == b"z"
        timer.join()
        sock.head_complete()  # of the next request
        with pytest.raises(TimeoutError, match="the body came too slowly"):
            sock.recv(1)


def test_the_earlier_of_two_limits(pair):
    """A deadline holds beside a rate."""
    _, sock = pair
    sock.connection.set_min_rates(grace=30)
    sock.connection.set_deadlines(read=0.05)
    with (
        life_of(sock.connection).exchange,
        pytest.raises(TimeoutError, match="the read deadline has passed"),
    ):
        sock.recv(1)


def test_a_timeout_of_the_views(pair):
    """A socket that does not block still does not, and a timeout is one."""
    _, sock = pair
    with life_of(sock.connection).exchange:
        sock.settimeout(0)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        with pytest.raises(BlockingIOError):
            while True:
                sock.sendall(b"x" * 100_000)
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError, match="timed out"):
            sock.recv(1)


@pytest.mark.parametrize("how", ["send", "sendall", "sendfile", "a file without a descriptor"])
def test_a_response_that_nobody_reads(pair, tmp_path, how):
    """Writing it fails when the grace is over, however it is done."""
    _, sock = pair
    (tmp_path / "file").write_bytes(b"x" * 30_000_000)
    with (
        (tmp_path / "file").open("rb") as file,
        pytest.raises(WriteDeadlineError, match="the response was read too slowly"),
    ):
        while True:
            if how == "sendfile":
                sock.sendfile(file)
            elif how == "a file without a descriptor":
                sock.sendfile(io.BytesIO(b"x" * 30_000_000))
            else:
                getattr(sock, how)(b"x" * 100_000)
    assert sock.gettimeout() is None


@pytest.mark.parametrize("how", ["sendall", "sendfile"])
def test_a_response_without_a_rate(pair, tmp_path, how):
    """It waits for its reader for any time, and all of it arrives."""
    client, sock = pair
    size = 10_000_000
    sock.connection.set_min_rates(write=None)
    received = []

    def read():
        while sum(received) < size:
            received.append(len(client.recv(1_000_000)))

    timer = later(read)
    (tmp_path / "file").write_bytes(b"x" * size)
    with (tmp_path / "file").open("rb") as file:
        if how == "sendfile":
            assert sock.sendfile(file) == size
            assert file.tell() == size
        else:
            sock.sendall(memoryview(file.read()).cast("I"))
    timer.join()
    assert sum(received) == size


def test_what_a_view_writes_by_itself(pair):
    """As long as the response has not begun no rate holds."""
    client, sock = pair
    life_of(sock.connection).exchange = PlainExchange()
    size, received = 10_000_000, []

    def read():
        while sum(received) < size:
            received.append(len(client.recv(1_000_000)))

    timer = later(read)
    sock.sendall(b"x" * size)
    timer.join()


def test_send_writes_all(pair):
    """As on any socket that blocks: some do not look at what send() returns."""
    client, sock = pair
    size, received = 3_000_000, []

    def read():
        while sum(received) < size:
            received.append(len(client.recv(1_000_000)))

    sock.connection.set_min_rates(grace=30)
    timer = later(read)
    assert sock.send(b"x" * size) == size
    timer.join()


def test_closed_by_another_thread(pair):
    """Who waits is told so as by a call that does not wait."""
    _, sock = pair
    wait = BodyWait(sock, sock.duties)
    sock.close()
    with pytest.raises(OSError, match="closed by another thread"):
        wait.until_ready()


@pytest.mark.parametrize(
    "wrong", [{"read": -1}, {"write": float("nan")}, {"read": float("inf")}, {"grace": None}]
)
def test_what_is_no_rate(pair, wrong):
    """It is refused, and nothing changes."""
    _, sock = pair
    with pytest.raises(ValueError, match=r"is not a number of (bytes a )?second"):
        sock.connection.set_min_rates(**wrong)
    assert sock.duties.rates is None


def test_http2(pair):
    """There are no rates to set, and none to lift."""
    _, sock = pair
    sock.duties.lift_rates()
    sock.connection.set_min_rates(read=None, write=0)
    with pytest.raises(UnsupportedError, match="HTTP/2"):
        sock.connection.set_min_rates(read=1)


def test_after_a_hijack(pair, tracker):
    """An owner is bound by no rate, and there is none to set."""
    client, sock = pair
    life_of(sock.connection).exchange = PlainExchange()
    connection = sock.connection
    with tracker.hijack(connection) as stream:
        with pytest.raises(InvalidStateError, match="no request to set rates of"):
            connection.set_min_rates(read=1)
        timer = later(client.sendall, b"z")
        assert stream.recv(1) == b"z"
        timer.join()
