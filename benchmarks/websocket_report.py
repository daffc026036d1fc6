"""What ``websocket_crowd.py`` measures, and its tables."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

from tables import table

_HEAD = (
    "server",
    "threads",
    "connections",
    "upgraded",
    "echoed in rounds 1, 2, 3",
    "open after",
    "a round takes",
    "memory for each",
    "after the rounds",
)
_LATENCY_HEAD = ("server", "meanwhile", "GETs", "median", "99 %", "worst", "unanswered")


@dataclass(frozen=True)
class Side:
    """A server, and how many connections it is given."""

    title: str
    worker: str
    factory: str
    threads: int
    connections: int
    serves_all: bool
    """Whether a connection that is not upgraded is an error, or the result."""


@dataclass
class Result:
    """What one side did."""

    side: Side
    upgraded: int = 0
    echoed: list[int] = field(default_factory=list)
    open_seconds: float = 0.0
    round_seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    gets: dict[str, list[float]] = field(default_factory=dict)
    """Seconds of each GET, by what went on when it began; infinite without an answer."""
    errors: list[str] = field(default_factory=list)


def tables(results: list[Result]) -> str:
    """Give the two tables: the connections, and the plain requests beside them."""
    latencies = [each for result in results for each in _latency_rows(result)]
    return f"{table(_HEAD, map(_row, results))}\n\nPlain GETs\n\n{table(_LATENCY_HEAD, latencies)}"


def _row(result: Result) -> list[str]:
    side = result.side
    rounds = result.round_seconds
    memory = [f"{each:.0f} B" for each in result.memory]
    if not side.serves_all:
        memory = ["-"] * len(memory)  # most of them have not been accepted, or only just
    seconds = (
        f"{result.open_seconds:.1f} s"
        if side.serves_all
        else f"(waited {result.open_seconds:.0f} s)"
    )
    return [
        side.title,
        str(side.threads),
        str(side.connections),
        str(result.upgraded),
        ", ".join(map(str, result.echoed)),
        seconds,
        f"{statistics.median(rounds):.2f} s" if rounds else "-",
        *memory,
    ]


def _latency_rows(result: Result) -> list[list[str]]:
    rows = []
    for phase, taken in result.gets.items():
        if not taken:  # none began: one from before was still waiting
            continue
        answered = sorted(seconds for seconds in taken if seconds < math.inf)
        cells = [_quantile(answered, share) for share in (0.5, 0.99, 1.0)]
        title = f"{result.side.title}, {result.side.threads} threads"
        rows.append([title, phase, str(len(taken)), *cells, str(len(taken) - len(answered))])
    return rows


def _quantile(ordered: list[float], share: float) -> str:
    if not ordered:
        return "-"
    return f"{ordered[math.ceil(share * len(ordered)) - 1] * 1000:.1f} ms"
