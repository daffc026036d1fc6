"""What is measured of what an observer is told."""

from __future__ import annotations

import logging

import pytest

from flask_rawsocket._connection import observing
from flask_rawsocket.metrics._recorder import Recorder


class Measurements:
    """A sink that remembers."""

    def __init__(self):
        self.sums = {}
        self.recorded = {}

    def add(self, instrument, amount, value=""):
        key = instrument.name, value
        self.sums[key] = self.sums.get(key, 0) + amount

    def record(self, instrument, amount):
        self.recorded.setdefault(instrument.name, []).append(amount)


@pytest.fixture
def measured():
    """What a recorder has measured since the test began."""
    sink = Measurements()
    recorder = Recorder(sink)
    observing.observe(recorder)
    yield sink
    observing.stop_observing(recorder)


def test_a_head(measured, accepted):
    """It is timed from its first byte to its end; one without an end is not."""
    with accepted(b"GET / HTTP/1.1\r\n\r\n") as sock:
        sock.recv(100)
        sock.head_complete()
        sock.head_complete()
    with accepted(b"GET") as sock:
        sock.recv(100)
    (seconds,) = measured.recorded["rawsocket.request.head"]
    assert 0 <= seconds < 20


def test_states(measured, accepted):
    """What comes goes again."""
    with accepted(b"GET") as sock:
        sock.recv(100)
        assert measured.sums["rawsocket.connections", "new"] == 0
        assert measured.sums["rawsocket.connections", "active"] == 1
    assert {value for key, value in measured.sums.items() if key[0] == "rawsocket.connections"} == {
        0
    }
    assert measured.sums["rawsocket.connections.opened", "tcp"] == 1
    assert measured.sums["rawsocket.connections.closed", "peer_closed"] == 1


def test_threads(measured):
    """A busy thread is one until it is done, and the server says how many there are."""
    observing.serve_with(4)
    observing.serve_with(2)
    with observing.busy_thread():
        assert measured.sums["rawsocket.threads.busy", ""] == 1
    assert measured.sums["rawsocket.threads.busy", ""] == 0
    assert measured.sums["rawsocket.threads", ""] == 2
    observing.serve_with(0)


def test_requests_that_wait(measured):
    """The last number that was told is what stands there."""
    for count in 3, 5, 5, 1:
        observing.current.requests_waiting(count)
        assert measured.sums["rawsocket.requests.waiting", ""] == count


def test_a_sink_that_fails(accepted, caplog):
    """It is logged, and the connection goes on."""

    class Failing:
        def add(self, *_args):
            raise OSError("no space left on device")

        record = add

    recorder = Recorder(Failing())
    observing.observe(recorder)
    try:
        with caplog.at_level(logging.ERROR), accepted(b"GET") as sock:
            assert sock.recv(100) == b"GET"
    finally:
        observing.stop_observing(recorder)
    assert "could not be counted" in caplog.text
