"""Counts of connections, requests and threads, for Prometheus and OpenTelemetry.

::

    exporter = metrics.prometheus(rawsocket)


    @app.get("/metrics")
    def counts():
        return exporter.response()

What is counted, by its name in Prometheus. OpenTelemetry has the same names with dots, and without
the unit and ``_total``: ``rawsocket.connection.duration``.

============================================  =========  =========  =========================
Name                                          Kind       Label      What it is
============================================  =========  =========  =========================
``rawsocket_connections``                     gauge      state      open now
``rawsocket_connections_opened_total``        counter    transport  accepted: tcp, unix
``rawsocket_connections_closed_total``        counter    reason     ended, by `CloseReason`
``rawsocket_connections_hijacked_total``      counter               hijacked
``rawsocket_connection_duration_seconds``     histogram             from accept to end
``rawsocket_connection_requests``             histogram             requests each
``rawsocket_connection_rtt_seconds``          histogram             round trip at the end
``rawsocket_connection_retransmits_total``    counter               segments sent again
``rawsocket_tls_handshake_duration_seconds``  histogram             if it succeeded
``rawsocket_requests_total``                  counter               that reached the app
``rawsocket_request_head_seconds``            histogram             first byte to end of head
``rawsocket_request_queue_seconds``           histogram             arrival to the app
``rawsocket_requests_waiting``                gauge                 for a thread
``rawsocket_threads``                         gauge                 for requests, at most
``rawsocket_threads_busy``                    gauge                 that serve a connection
============================================  =========  =========  =========================

The round trip, the segments and the time in the queue are known of TCP connections, the last one on
Linux, to a few milliseconds: from the arrival of the request's last byte in the kernel, so that the
time for which it waited for a thread, or in the backlog, is in it. ``process_died`` is the reason
of connections whose process was killed.

No label has unbounded values. Nothing is counted, and no time is spent, where no exporter is made.
"""

from ._logging import ConnectionFilter
from ._opentelemetry import OpenTelemetryMetrics, opentelemetry
from ._prometheus import PrometheusMetrics, prometheus
from ._table import TABLE, Instrument, Kind

__all__ = [
    "TABLE",
    "ConnectionFilter",
    "Instrument",
    "Kind",
    "OpenTelemetryMetrics",
    "PrometheusMetrics",
    "opentelemetry",
    "prometheus",
]
