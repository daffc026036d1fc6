"""Worker processes that have ended: what their gauges say is true no more.

prometheus_client sums the gauges of all files, and leaves it to the application to remove those of
processes that have ended. A worker that was killed had connections, whose ends nobody has counted.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ._table import PROCESS_DIED, named

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REASON", "bury"]

REASON: Final = PROCESS_DIED

_GAUGES: Final = re.compile(r"gauge_live\w+_(\d+)\.db")
_CONNECTIONS: Final = named("connections").prometheus_name


def bury(folder: str, died: Callable[[float], object]) -> None:
    """Remove the gauges of processes that have ended.

    Several workers may do so at once: a file is one worker's who renames it.

    Args:
        folder: where prometheus_client has its files.
        died: called with the number of connections that a process had.
    """
    for path in Path(folder).glob("gauge_live*.db"):
        found = _GAUGES.fullmatch(path.name)
        if found is None or _is_alive(int(found[1])):
            continue
        taken = path.with_suffix(f".taken-by-{os.getpid()}")
        try:
            path.rename(taken)
        except FileNotFoundError:
            continue  # another worker was first
        try:
            count = _connections(taken)
        finally:
            taken.unlink()
        if count > 0:
            died(count)


def _connections(path: Path) -> float:
    """Return how many connections the gauges in `path` count."""
    from prometheus_client import multiprocess  # noqa: PLC0415

    collector: Any = multiprocess.MultiProcessCollector
    metrics = collector.merge([str(path)])
    found = (each for each in metrics if each.name == _CONNECTIONS)
    return sum(float(sample.value) for each in found for sample in each.samples)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return True
