"""`opentelemetry`: the counts as instruments of OpenTelemetry's API.

Names and units follow its semantic conventions for HTTP servers and for Kestrel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._connection import observing
from ._recorder import Recorder
from ._table import TABLE, Kind

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

    from ..extension import RawSocket
    from ._table import Instrument

__all__ = ["OpenTelemetryMetrics", "opentelemetry"]


def opentelemetry(rawsocket: RawSocket, meter: Meter | None = None) -> OpenTelemetryMetrics:
    """Count the connections of this process.

    The SDK and its exporter are the application's to set up, in each worker: gunicorn's
    ``post_fork`` is the place.

    Args:
        rawsocket: the extension of the application; its connections are those of the process.
        meter: makes the instruments; the global provider's where there is none.

    Raises:
        ImportError: OpenTelemetry's API is not installed; the text says how to install it.
    """
    return OpenTelemetryMetrics(rawsocket, meter)


class OpenTelemetryMetrics:
    """The counts, as instruments of OpenTelemetry. Made by `opentelemetry`.

    Attributes:
        rawsocket: the extension that they were made for.
    """

    def __init__(self, rawsocket: RawSocket, meter: Meter | None = None) -> None:
        self.rawsocket = rawsocket
        self._observer = Recorder(_OpenTelemetrySink(meter or _meter()))
        observing.observe(self._observer)

    def stop(self) -> None:
        """Count no more."""
        observing.stop_observing(self._observer)


class _OpenTelemetrySink:
    """Writes measurements into instruments."""

    def __init__(self, meter: Any) -> None:
        self._instruments = {each.name: _make(meter, each) for each in TABLE}
        self._attributes = {
            (each.name, value): {f"rawsocket.{each.label}": value}
            for each in TABLE
            for value in each.values
        }

    def add(self, instrument: Instrument, amount: float, value: str = "") -> None:
        attributes = self._attributes.get((instrument.name, value))
        self._instruments[instrument.name].add(amount, attributes)

    def record(self, instrument: Instrument, amount: float) -> None:
        self._instruments[instrument.name].record(amount)


def _make(meter: Any, instrument: Instrument) -> Any:
    args = instrument.name, instrument.unit, instrument.text
    if instrument.kind is Kind.GAUGE:
        return meter.create_up_down_counter(*args)
    if instrument.kind is Kind.COUNTER:
        return meter.create_counter(*args)
    return meter.create_histogram(
        *args, explicit_bucket_boundaries_advisory=list(instrument.buckets)
    )


def _meter() -> Any:
    """Return a meter of the global provider.

    Raises:
        ImportError: the API is not installed.
    """
    try:
        from opentelemetry import metrics  # noqa: PLC0415
    except ImportError as exc:
        raise ImportError(
            "flask_rawsocket.metrics.opentelemetry needs OpenTelemetry: "
            'pip install "Flask-RawSocket[otel]"'
        ) from exc
    return metrics.get_meter("flask_rawsocket")
