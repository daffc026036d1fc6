"""`prometheus`: the counts as ``prometheus_client`` metrics, of one process or of all workers.

Several workers share them through files, in the directory that ``PROMETHEUS_MULTIPROC_DIR`` names
(prometheus_client's documentation, "Multiprocess Mode (E.g. Gunicorn)").
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from flask import Response

from .._connection import observing
from . import _dead
from ._recorder import Recorder
from ._table import TABLE, Kind, named

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

    from prometheus_client import CollectorRegistry

    from ..extension import RawSocket
    from ._table import Instrument

__all__ = ["PrometheusMetrics", "prometheus"]

log = logging.getLogger("flask_rawsocket")

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that says where workers share their counts."""


def prometheus(
    rawsocket: RawSocket, registry: CollectorRegistry | None = None
) -> PrometheusMetrics:
    """Count the connections of this process, and of the workers that are forked from it.

    Args:
        rawsocket: the extension of the application; its connections are those of the process.
        registry: where the metrics are registered; prometheus_client's own where there is none.

    Returns:
        What a view returns the counts of.

    Raises:
        ImportError: prometheus_client is not installed; the text says how to install it.
        ValueError: the registry has these metrics already.
    """
    return PrometheusMetrics(rawsocket, registry)


class PrometheusMetrics:
    """The counts, as metrics of ``prometheus_client``. Made by `prometheus`.

    Attributes:
        rawsocket: the extension that they were made for.
        registry: where they are registered.
    """

    def __init__(self, rawsocket: RawSocket, registry: CollectorRegistry | None = None) -> None:
        client = _client()
        self.rawsocket = rawsocket
        self.registry: CollectorRegistry = client.REGISTRY if registry is None else registry
        self._sink = _PrometheusSink(client, self.registry)
        self._observer = Recorder(self._sink)
        observing.observe(self._observer)
        self._warned = False

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Return the counts in Prometheus's format, and its media type.

        With several workers they are the sums of all, those that have ended included. Connections
        of a worker that was killed are counted as closed: ``process_died``.

        Args:
            accept: the request's ``Accept``, by which the format is chosen.
        """
        client = _client()
        registry = self.registry
        folder = os.environ.get(_FOLDER)
        if folder:
            _dead.bury(folder, self._sink.died)
            registry = client.CollectorRegistry()
            client.multiprocess.MultiProcessCollector(registry)
        encode, media_type = client.exposition.choose_encoder(accept)
        return encode(registry), media_type

    def response(self) -> Response:
        """Return the counts as a view's response."""
        from flask import request  # noqa: PLC0415

        self._warn_of_several(request.environ)
        data, media_type = self.text(request.headers.get("Accept", ""))
        return Response(data, content_type=media_type)

    def _warn_of_several(self, environ: WSGIEnvironment) -> None:
        several = environ.get("wsgi.multiprocess") and not os.environ.get(_FOLDER)
        if several and not self._warned:
            self._warned = True
            log.warning(
                "metrics: these are the counts of one process of several: "
                "set PROMETHEUS_MULTIPROC_DIR to an empty directory before the app is imported"
            )

    def stop(self) -> None:
        """Count no more, and remove the metrics from their registry."""
        observing.stop_observing(self._observer)
        for each in self._sink.metrics.values():
            self.registry.unregister(each)


class _PrometheusSink:
    """Writes measurements into metrics."""

    def __init__(self, client: Any, registry: CollectorRegistry) -> None:
        self.metrics = {each.name: _metric(client, registry, each) for each in TABLE}
        self._children: dict[tuple[str, str], Any] = {}
        for each in TABLE:
            metric = self.metrics[each.name]
            # All of them now: a counter that comes into being with 1 has no rate.
            for value in each.values or ("",):
                self._children[each.name, value] = metric.labels(value) if value else metric

    def add(self, instrument: Instrument, amount: float, value: str = "") -> None:
        self._children[instrument.name, value].inc(amount)

    def record(self, instrument: Instrument, amount: float) -> None:
        self._children[instrument.name, ""].observe(amount)

    def died(self, count: float) -> None:
        """A process was killed that had `count` connections."""
        self.add(named("connections.closed"), count, _dead.REASON)


def _metric(client: Any, registry: CollectorRegistry, instrument: Instrument) -> Any:
    labels = (instrument.label,) if instrument.label else ()
    args: Any = (instrument.prometheus_name, instrument.text, labels)
    if instrument.kind is Kind.GAUGE:
        return client.Gauge(*args, registry=registry, multiprocess_mode="livesum")
    if instrument.kind is Kind.COUNTER:
        return client.Counter(*args, registry=registry)
    return client.Histogram(*args, registry=registry, buckets=instrument.buckets)


def _client() -> Any:
    """Return prometheus_client.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import prometheus_client  # noqa: PLC0415
        import prometheus_client.multiprocess  # noqa: PLC0415
    except ImportError as exc:
        raise ImportError(
            "flask_rawsocket.metrics.prometheus needs prometheus_client: "
            'pip install "Flask-RawSocket[prometheus]"'
        ) from exc
    return prometheus_client
