"""What is counted: the names, kinds, units and labels, for every exporter."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from .._connection.state import CloseReason, ConnState

__all__ = ["PROCESS_DIED", "TABLE", "Instrument", "Kind", "named"]

PROCESS_DIED: Final = "process_died"
"""The reason of connections whose process was killed; no hook has heard of their end."""


class Kind(enum.Enum):
    """How an instrument behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Instrument:
    """One row of the table.

    Attributes:
        name: with dots, as OpenTelemetry has it.
        kind: how it behaves.
        unit: in UCUM, as OpenTelemetry has it: ``s``, or what is counted in braces.
        text: what it is.
        label: the name of its one label; empty without.
        values: all values that the label may have.
        buckets: the upper bounds of a histogram's buckets.
    """

    name: str
    kind: Kind
    unit: str
    text: str
    label: str = ""
    values: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """The name in Prometheus, but for the ``_total`` of a counter."""
        return self.name.replace(".", "_") + ("_seconds" if self.unit == "s" else "")


_SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Those that OpenTelemetry recommends for requests, and two below."""

_LONG: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Those that it recommends for the duration of Kestrel's connections."""

_COUNTS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0)

_STATES: Final = tuple(each.value for each in ConnState if each is not ConnState.CLOSED)
_REASONS: Final = tuple(each.value for each in CloseReason if not each.is_group)

TABLE: Final = (
    Instrument(
        "rawsocket.connections",
        Kind.GAUGE,
        "{connection}",
        "Connections that are open now, by state.",
        "state",
        _STATES,
    ),
    Instrument(
        "rawsocket.connections.opened",
        Kind.COUNTER,
        "{connection}",
        "Connections accepted, by transport.",
        "transport",
        ("tcp", "unix"),
    ),
    Instrument(
        "rawsocket.connections.closed",
        Kind.COUNTER,
        "{connection}",
        "Connections that have ended, by reason.",
        "reason",
        (*_REASONS, PROCESS_DIED),
    ),
    Instrument(
        "rawsocket.connections.hijacked",
        Kind.COUNTER,
        "{connection}",
        "Connections that the application has hijacked.",
    ),
    Instrument(
        "rawsocket.connection.duration",
        Kind.HISTOGRAM,
        "s",
        "Time from a connection's accept to its end.",
        buckets=_LONG,
    ),
    Instrument(
        "rawsocket.connection.requests",
        Kind.HISTOGRAM,
        "{request}",
        "Requests that came in on a connection.",
        buckets=_COUNTS,
    ),
    Instrument(
        "rawsocket.connection.rtt",
        Kind.HISTOGRAM,
        "s",
        "Smoothed round-trip time of a TCP connection at its end.",
        buckets=(0.0001, 0.0005, *_SHORT),
    ),
    Instrument(
        "rawsocket.connection.retransmits",
        Kind.COUNTER,
        "{segment}",
        "Segments of TCP connections that were sent again, counted when a connection ends.",
    ),
    Instrument(
        "rawsocket.tls_handshake.duration",
        Kind.HISTOGRAM,
        "s",
        "Time that successful TLS handshakes took.",
        buckets=_SHORT,
    ),
    Instrument(
        "rawsocket.requests",
        Kind.COUNTER,
        "{request}",
        "Requests that reached the application.",
    ),
    Instrument(
        "rawsocket.request.head",
        Kind.HISTOGRAM,
        "s",
        "Time from the first byte of a request to the end of its head.",
        buckets=_SHORT,
    ),
    Instrument(
        "rawsocket.request.queue",
        Kind.HISTOGRAM,
        "s",
        "Time from the arrival of a request to its application; TCP on Linux.",
        buckets=_SHORT,
    ),
    Instrument(
        "rawsocket.requests.waiting",
        Kind.GAUGE,
        "{request}",
        "Requests that have begun to come and wait for a thread; the thread worker.",
    ),
    Instrument(
        "rawsocket.threads",
        Kind.GAUGE,
        "{thread}",
        "Threads that the server has for requests, at most.",
    ),
    Instrument(
        "rawsocket.threads.busy",
        Kind.GAUGE,
        "{thread}",
        "Threads that serve a connection now.",
    ),
)
"""All instruments."""

_BY_NAME: Final = {each.name: each for each in TABLE}


def named(name: str) -> Instrument:
    """Return the instrument of that name."""
    return _BY_NAME[f"rawsocket.{name}"]
