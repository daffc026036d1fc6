"""Latency of one GET beside connections that have not sent a byte.

Browsers open such connections ahead of need.  The GETs are made at once after the
silent connections, one after the other, each on its own connection.  A server that
cannot answer in time is given up after the first GET, and shown as ">20 s".
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from client import BadAnswerError, get_once, warm_up
from servers import running

if TYPE_CHECKING:
    from collections.abc import Callable

    from scenarios import Bench
    from servers import Setup

COUNTS = (0, 40, 400)
_CONNECT_TIMEOUT = 5.0


@dataclass(frozen=True)
class Latencies:
    """The answers beside ``silent`` connections, in seconds; none if the first took too long."""

    silent: int
    seconds: tuple[float, ...]
    timeout: float
    errors: tuple[str, ...] = ()


def measure(bench: Bench, progress: Callable[[str], None]) -> dict[str, list[Latencies]]:
    """Measure both sides in turn, beside each number of silent connections.

    Raises:
        ServerFailedError, OSError: a side cannot be measured.

    """
    setups = bench.setups("thread")
    results: dict[str, list[Latencies]] = {side: [] for side in setups}
    for silent in COUNTS:
        for side, setup in setups.items():
            result = _run(setup, bench, silent)
            results[side].append(result)
            said = f"{result.seconds[0] * 1000:.1f} ms" if result.seconds else "no answer in time"
            progress(f"{silent} silent, {side}: {said}")
    return results


def _run(setup: Setup, bench: Bench, silent: int) -> Latencies:
    timeout = bench.effort.silent_timeout
    errors: list[str] = []
    with running(setup, bench.directory, bench.cores) as server, contextlib.ExitStack() as stack:
        warm_up(server.endpoint, bench.effort.warm_up_requests)
        for _ in range(silent):
            stack.enter_context(server.endpoint.connect(_CONNECT_TIMEOUT))
        seconds: list[float] = []
        while len(seconds) < bench.effort.silent_gets:
            started = time.perf_counter()
            try:
                get_once(server.endpoint, timeout)
            except TimeoutError:
                if seconds:
                    errors.append(f"GET {len(seconds) + 1} had no answer within {timeout:.0f} s")
                break
            except (BadAnswerError, OSError) as exc:
                errors.append(f"{type(exc).__name__}: {exc}")
                break
            seconds.append(time.perf_counter() - started)
        errors += [f"gunicorn: {line}" for line in server.complaints()]
    return Latencies(silent, tuple(seconds), timeout, tuple(errors))
