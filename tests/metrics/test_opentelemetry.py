"""The counts for OpenTelemetry, as its SDK collects them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from flask_rawsocket import RawSocket, metrics
from flask_rawsocket._connection.state import CloseReason
from flask_rawsocket.metrics._table import TABLE, Kind

SDK_KINDS = {Kind.COUNTER: "Sum", Kind.GAUGE: "Sum", Kind.HISTOGRAM: "Histogram"}


@pytest.fixture
def reader():
    """What collects; counting ends with the test."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    made = metrics.opentelemetry(RawSocket(), provider.get_meter("test"))
    yield reader
    made.stop()
    provider.shutdown()


def collected(reader):
    """Return what has been measured, by name."""
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    return {each.name: each for each in scope.metrics}


def test_a_connection(reader, accepted):
    """Each measurement has the name, the unit and the attribute of the table."""
    with accepted(b"GET / HTTP/1.1\r\n") as sock:
        sock.recv(100)
        now = collected(reader)
        states = {
            point.attributes["rawsocket.state"]: point.value
            for point in now["rawsocket.connections"].data.data_points
        }
        assert states == {"new": 0, "active": 1}
    found = collected(reader)
    for each in TABLE:
        if each.name in found:
            metric = found[each.name]
            assert (metric.unit, metric.description) == (each.unit, each.text)
            assert type(metric.data).__name__ == SDK_KINDS[each.kind]
    (closed,) = found["rawsocket.connections.closed"].data.data_points
    assert closed.attributes == {"rawsocket.reason": CloseReason.PEER_CLOSED.value}
    (duration,) = found["rawsocket.connection.duration"].data.data_points
    assert duration.count == 1
    (buckets,) = (each.buckets for each in TABLE if each.name == "rawsocket.connection.duration")
    assert tuple(duration.explicit_bounds) == buckets


def test_without_opentelemetry():
    """Where it is not installed, one sentence says how to install it."""
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from flask_rawsocket import RawSocket, metrics\n"
        "try: metrics.opentelemetry(RawSocket())\n"
        "except ImportError as exc: print(exc)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert 'pip install "Flask-RawSocket[otel]"' in done.stdout
