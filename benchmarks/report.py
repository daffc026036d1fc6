"""Turns samples into Markdown: medians, their ratio, the spread, and every error."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scenarios import MEMORY_TARGET, THROUGHPUT_TARGET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from memory import MemorySample
    from silent import Latencies
    from throughput import Sample

THROUGHPUT_HEAD = (
    "scenario",
    "plain req/s",
    "ours req/s",
    "ratio (95 % interval)",
    "spread plain/ours",
    "CPU us/req",
    "CPU ratio (95 % interval)",
    "verdict",
)
MEMORY_HEAD = (
    "scenario",
    "connections",
    "plain PSS",
    "ours PSS",
    "difference",
    "spread plain/ours",
    "plain RSS",
    "ours RSS",
    "verdict",
)
_RESAMPLES = 2000
_RUNS_FOR_A_VERDICT = 10
SILENT_HEAD = ("silent connections", "plain", "ours", "GETs plain/ours")


def throughput_row(name: str, samples: Mapping[str, Sequence[Sample]]) -> list[str]:
    """Compare the rates of one scenario; the CPU ratio is turned so that more is better."""
    plain = [sample.rate for sample in samples["plain"]]
    ours = [sample.rate for sample in samples["ours"]]
    ratio = _ratio(plain, ours)
    return [
        name,
        f"{statistics.median(plain):.0f}",
        f"{statistics.median(ours):.0f}",
        str(ratio),
        f"{_spread(plain)} / {_spread(ours)}",
        *_cpu_cells(samples),
        ratio.verdict,
    ]


def _cpu_cells(samples: Mapping[str, Sequence[Sample]]) -> list[str]:
    plain, ours = (
        [cost for sample in samples[side] if (cost := sample.cpu_per_request) is not None]
        for side in ("plain", "ours")
    )
    if len(plain) != len(ours) or not plain:
        return ["unknown"] * 2
    medians = f"{statistics.median(plain):.0f} / {statistics.median(ours):.0f}"
    return [medians, str(_ratio(ours, plain))]


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians in its 95 % interval."""

    low: float
    middle: float
    high: float
    runs: int

    def __str__(self) -> str:
        """Show all three."""
        return f"{self.middle:.3f} ({self.low:.3f} .. {self.high:.3f})"

    @property
    def verdict(self) -> str:
        """Say what the interval, not the ratio alone, allows to say about the target."""
        if self.runs < _RUNS_FOR_A_VERDICT:
            return "too few runs"
        if self.low >= THROUGHPUT_TARGET:
            return "ok"
        return f"below {THROUGHPUT_TARGET}" if self.high < THROUGHPUT_TARGET else "within the noise"


def _ratio(below: Sequence[float], above: Sequence[float]) -> Ratio:
    """Return median(above) / median(below), with a bootstrap over the neighbouring runs.

    The interval says what the ratio would have been, had others of these pairs of runs
    been made; with a handful of runs it is a rough guess.
    """
    chance = random.Random(len(below))  # noqa: S311  # the same samples give the same interval
    pairs = list(zip(below, above, strict=True))
    ratios = []
    for _ in range(_RESAMPLES):
        under, over = zip(*chance.choices(pairs, k=len(pairs)), strict=True)
        ratios.append(statistics.median(over) / statistics.median(under))
    ratios.sort()
    tail = _RESAMPLES // 40
    middle = statistics.median(above) / statistics.median(below)
    return Ratio(ratios[tail], middle, ratios[-tail - 1], len(pairs))


def memory_row(name: str, samples: Mapping[str, Sequence[MemorySample]]) -> list[str]:
    """Compare the bytes for each idle connection."""
    plain = [sample.pss for sample in samples["plain"]]
    ours = [sample.pss for sample in samples["ours"]]
    difference = statistics.median(ours) - statistics.median(plain)
    return [
        name,
        str(samples["plain"][0].connections),
        f"{statistics.median(plain):.0f} B",
        f"{statistics.median(ours):.0f} B",
        f"{difference:+.0f} B",
        f"{_spread(plain)} / {_spread(ours)}",
        f"{statistics.median(sample.rss for sample in samples['plain']):.0f} B",
        f"{statistics.median(sample.rss for sample in samples['ours']):.0f} B",
        "ok" if difference <= MEMORY_TARGET else f"above +{MEMORY_TARGET} B",
    ]


def silent_rows(results: Mapping[str, Sequence[Latencies]]) -> list[list[str]]:
    """Compare the latencies, one row for each number of silent connections."""
    return [
        [
            str(plain.silent),
            _latency(plain),
            _latency(ours),
            f"{len(plain.seconds)} / {len(ours.seconds)}",
        ]
        for plain, ours in zip(results["plain"], results["ours"], strict=True)
    ]


def _latency(result: Latencies) -> str:
    if not result.seconds:
        return "failed" if result.errors else f">{result.timeout:.0f} s"
    median, worst = statistics.median(result.seconds), max(result.seconds)
    return f"{median * 1000:.1f} ms (worst {worst * 1000:.1f})"


def _spread(values: Sequence[float]) -> str:
    """Say how far apart the runs of one side are: (highest - lowest) / median."""
    return f"{(max(values) - min(values)) / statistics.median(values):.1%}"


def error_lines(
    name: str,
    samples: Mapping[str, Sequence[Sample | MemorySample | Latencies]],
) -> list[str]:
    """List every error of a scenario, with its side and its run."""
    return [
        f"{name}, {side}, run {number}: {error}"
        for side, runs in samples.items()
        for number, run in enumerate(runs, 1)
        for error in run.errors
    ]
