"""The date of a response is formatted once per second, and is right in each."""

from __future__ import annotations

import threading

import pytest

util = pytest.importorskip("gunicorn.util")

from flask_rawsocket.workers import _date
from flask_rawsocket.workers._date import http_date


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets, and the times that were formatted by it."""

    class Clock:
        now = 1_000_000_000.0
        formatted: list[float]

        def time(self):
            return self.now

    clock = Clock()
    clock.formatted = []
    real = _date._format

    def formatted(timestamp):
        clock.formatted.append(timestamp)
        return real(timestamp)

    monkeypatch.setattr(_date, "time", clock)
    monkeypatch.setattr(_date, "_format", formatted)
    monkeypatch.setattr(_date, "_last", (-1, ""))
    return clock


def test_it_changes_with_the_second(clock):
    """Within one the text is the same, and not formatted again."""
    assert http_date() == "Sun, 09 Sep 2001 01:46:40 GMT"
    clock.now += 0.999
    assert http_date() == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert clock.formatted == [1_000_000_000]
    clock.now += 0.001
    assert http_date() == "Sun, 09 Sep 2001 01:46:41 GMT"
    clock.now -= 5  # somebody has set the clock
    assert http_date() == "Sun, 09 Sep 2001 01:46:36 GMT"


def test_another_time(clock):
    """It is formatted as gunicorn does, and is not taken for the present one."""
    assert http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert http_date() == "Sun, 09 Sep 2001 01:46:40 GMT"


def test_threads_see_no_mixture(clock):
    """While the second changes, each text that a thread gets is of a second that there was."""
    known = {_date._format(second) for second in range(1_000_000_000, 1_000_000_200)}
    found: set[str] = set()

    def ask():
        for _ in range(300):
            found.add(http_date())
            clock.now += 0.05

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found <= known
    assert len(found) > 1
