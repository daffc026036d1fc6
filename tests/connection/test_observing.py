"""Observers: none by default, one, or several."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flask_rawsocket._connection import observing


class Observer:
    """Remembers what it was told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda *args: self.told.append((name, *args))


EVENTS = [
    ("changed", "connection", None, "new"),
    ("head_complete", "connection"),
    ("request_begun", "connection"),
    ("handshake_begun", "connection"),
    ("handshake_done", "connection"),
    ("thread_begun",),
    ("thread_done",),
    ("threads", 4),
]


def test_nobody_by_default():
    """Where nothing was asked for nobody is told, and no exporter is imported."""
    program = (
        "import sys; from flask import Flask; from flask_rawsocket import RawSocket\n"
        "from flask_rawsocket._connection import observing\n"
        "from flask_rawsocket._tracking.tracker import process_tracker as tracker\n"
        "from flask_rawsocket import ConnState\n"
        "RawSocket(Flask('a'))\n"
        "names = 'prometheus_client', 'opentelemetry', 'flask_rawsocket.metrics'\n"
        "print(observing.current, any(each in sys.modules for each in names))\n"
        "print(any(tracker.has_hooks(each) for each in ConnState))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["None", "False", "False"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_is_told(count):
    """Each of them is told everything; one that has stopped is told nothing."""
    observers = [Observer() for _ in range(count)]
    for each in observers:
        observing.observe(each)
    try:
        for name, *args in EVENTS:
            getattr(observing.current, name)(*args)
    finally:
        for each in observers:
            observing.stop_observing(each)
    assert [each.told for each in observers] == [EVENTS] * count
    assert observing.current is None


def test_a_late_one():
    """Who comes later is told how many threads there are."""
    observer = Observer()
    observing.serve_with(3)
    try:
        observing.observe(observer)
        assert observer.told == [("threads", 3)]
    finally:
        observing.stop_observing(observer)
        observing.serve_with(0)
