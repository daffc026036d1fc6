"""Connections in the poller: what closes them there, and who has their numbers next."""

from __future__ import annotations

import contextlib
import time

import pytest
from servers import ask, is_quiet, wait_for

from flask_rawsocket.workers._parking import ParkingWorker
from flask_rawsocket.workers._tconn import Queue, TConn

NO_ROOM = """
import errno, os

def post_worker_init(worker):
    for name in "add", "arm":
        setattr(worker.readiness, name, fail(name, getattr(worker.readiness, name)))

def fail(name, usual):
    def call(*args):
        if os.path.exists({path!r} + name):
            raise OSError(errno.ENOSPC, "no room in the poller")
        return usual(*args)
    return call
"""
"""A configuration with which the poller takes nothing while there is a file there."""


@pytest.fixture(scope="module")
def roomless(run_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("no-room")
    conf = folder / "conf.py"
    conf.write_text(NO_ROOM.format(path=f"{folder}/"))
    with run_server("gthread", "tcp", "-c", str(conf), app="framing:app") as server:
        server.folder = folder
        yield server


@pytest.fixture(scope="module")
def rough(run_server):
    with run_server("gthread", "tcp", app="handling:app") as server:
        yield server


class TestNoRoom:
    """The system has no room in the poller (epoll_ctl(2), ENOSPC)."""

    @pytest.fixture(params=["add", "arm"])
    def sequence(self, request, roomless):
        """What becomes of a connection meanwhile."""
        roomless.mark()
        (roomless.folder / request.param).touch()
        yield {"add": "NC", "arm": "NAC"}[request.param]
        (roomless.folder / request.param).unlink(missing_ok=True)

    def test_it_is_closed(self, roomless, sequence):
        """It is closed, logged and forgotten; not kept where nobody would ever look again."""
        with roomless.connect() as client:
            if sequence == "NAC":
                client.send(b"GET / HT")
            assert client.at_eof()
        roomless.wait_sequences(sequence)
        assert roomless.closed()[0]["reason"] in {"ERROR", "CLIENT"}
        assert "A connection cannot be waited for: [Errno 28]" in roomless.log.read_text()
        for each in "add", "arm":
            (roomless.folder / each).unlink(missing_ok=True)
        wait_for(lambda: is_quiet(roomless), "the count to be right")


PARTS = {
    "idle": b"",
    "a head": b"GET / HTTP/1.1\r\nHo",
    "a body": b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234",
}
"""What a client has said of its next request."""


class TestFromOutside:
    """A view ends the connection of another client, which waits in the poller."""

    @pytest.mark.parametrize("said", PARTS.values(), ids=PARTS)
    @pytest.mark.parametrize("method", ["sock.close", "abort"])
    def test_it_costs_nobody_else(self, rough, method, said):
        """Later connections have its number, and are served; it is counted no more."""
        rough.mark()
        pid = ask(rough).json["pid"]
        with contextlib.ExitStack() as stack:
            other = stack.enter_context(rough.connect())
            for _ in range(10):
                client = stack.enter_context(rough.connect())
                key = client.request("/keep-by-key").json["key"]
                state = "IDLE"
                if said:
                    client.send(said)
                    state = "ACTIVE"
                wait_for(
                    lambda key=key, state=state: (
                        other.request(f"/state?key={key}").json["state"] == state
                    ),
                    state,
                )
                assert other.request(f"/other?key={key}&call={method}").json == {"done": True}
                assert client.at_eof()
                with rough.connect() as later:  # has its descriptor
                    assert later.request().json["requests"] == 1
                    later.send(b"GET / HT")
                    assert other.request("/alive").status == 200
                    later.send(b"TP/1.1\r\nHost: a\r\n\r\n")
                    assert later.response().json["requests"] == 2
        wait_for(lambda: is_quiet(rough), "the count to be right")
        assert ask(rough).json["pid"] == pid
        assert "could not be" not in rough.log.read_text()


class Parking(ParkingWorker):
    """A worker that has nothing but its queues."""

    def __init__(self):
        self.alive = True
        self._wakes_at = 0.0

    last_moment = 2.0

    def wake(self):
        self.woken = True


class TestStops:
    """A stop that begins while a connection goes into its queue."""

    @pytest.mark.parametrize("is_for_requests", [True, False])
    def test_between_two_queues(self, is_for_requests):
        """Whoever puts it there sees the stop, where the stop has not seen it."""
        worker = Parking()
        conn = TConn.__new__(TConn)

        queue = Queue(None, None, is_for_requests=is_for_requests)
        usual = queue.append

        def append(conn):
            worker.alive = False
            usual(conn)

        queue.append = append
        worker._wait_in(conn, queue, 1000.0)
        assert conn in queue
        left = conn.timeout - time.monotonic()
        assert left <= 2 if is_for_requests else left > 100

    def test_the_main_thread_is_woken(self):
        """By whoever waits for less than it has slept in advance."""
        worker = Parking()
        worker._wakes_at = time.monotonic() + 1000
        worker._wait_in(TConn.__new__(TConn), Queue(None, None), 1500.0)
        assert not hasattr(worker, "woken")
        worker._wait_in(TConn.__new__(TConn), Queue(None, None), 500.0)
        assert worker.woken
