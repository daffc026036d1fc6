"""Connections taken over by ``hijack_async``: what a plain GET beside them notices, and their cost.

    python benchmarks/take_over.py [--connections 10000] [--at-once 32] [--runs 3] [--tls]

A process of its own opens the connections, ``--at-once`` of them at a time: a new one as soon as
one of them has been answered with ``101``. So the server is always behind, and never by more than
that many requests. Another process makes plain GETs all the while, each on a new connection. When
all are taken over they stay silent; memory and wake-ups are counted then, while nobody asks
anything. At the end all of them leave at once.

Every run has a fresh server, and everything goes to 127.0.0.1.  The exit status is 1 when
something was not as it should be.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import machine
from client import BadAnswerError, warm_up
from probe import Probe
from servers import OURS, Server, ServerFailedError, Setup, running
from tables import table
from take_over_app import FACTS
from taker import Taker

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 10_000
TLS_CONNECTIONS = 2_000
AT_ONCE = 32
RUNS = 3

ALONE, TAKING, IDLE, LEAVING = "nothing", "being taken over", "all idle", "all leave at once"
_PHASES = (ALONE, TAKING, IDLE, LEAVING)
_QUIET = 3.0
"""Seconds for which GETs are made while nothing else happens, and for which wake-ups count."""
_LEAVE = 20.0
_WHOLE = 150  # seconds for a run, after which everything is broken off
_WARM_UP = 100
_SPARE = 300
"""Descriptors and connections beside those taken over."""
_SWITCHES = re.compile(r"^voluntary_ctxt_switches:\s*(\d+)", re.MULTILINE)


@dataclass
class Run:
    """What one run found."""

    connections: int
    taken: int = 0
    seconds: float = 0.0
    memory: float = 0.0
    """Growth of the worker's RSS for each connection, in bytes."""
    wakes: float = 0.0
    """Of the event loop's thread, for each idle second; and of all the worker's."""
    all_wakes: float = 0.0
    left_seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    gets: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def worst(self, phase: str) -> float:
        """Return the longest GET of a phase, in seconds; infinite where one had no answer."""
        return max(self.gets.get(phase, ()), default=math.inf)


def measure(server: Server, connections: int, at_once: int) -> Run:
    """Have the connections taken over, count, and have them leave."""
    run = Run(connections)
    warm_up(server.endpoint, _WARM_UP)
    pid = server.worker_pid()
    with Taker(server.endpoint, at_once) as first:
        first.take(1)  # so that the loop is there
    descriptors = _settled_descriptors(pid)
    before = machine.Memory.settled(pid).rss
    with Taker(server.endpoint, at_once) as taker:
        _take(run, server, taker)
        run.memory = (machine.Memory.settled(pid).rss - before) / connections
        _count_wakes(run, pid)
        probe = Probe(server.endpoint)
        probe.phase(LEAVING)
        begun = time.monotonic()
    try:
        if not _wait(lambda: _descriptors(pid) <= descriptors + 1):  # one is the probe's
            run.errors.append(f"{_descriptors(pid) - descriptors} descriptors stayed open")
        run.left_seconds = time.monotonic() - begun
        run.gets |= probe.stop()
    finally:
        probe.close()
    if run.taken != connections:
        run.errors.append(f"{connections - run.taken} were not taken over")
    run.errors += [f"gunicorn: {line}" for line in server.complaints()]
    return run


def _take(run: Run, server: Server, taker: Taker) -> None:
    """Have the connections taken over, with GETs before, beside and after that."""
    probe = Probe(server.endpoint)
    try:
        _facts(server)
        probe.phase(ALONE)
        time.sleep(_QUIET)
        probe.phase(TAKING)
        begun = time.monotonic()
        run.taken, errors = taker.take(run.connections)
        run.seconds = time.monotonic() - begun
        run.errors += errors
        probe.phase(IDLE)
        time.sleep(_QUIET)
        run.gets = probe.stop()
        run.facts = _facts(server)
    finally:
        probe.close()


def _facts(server: Server) -> dict[str, Any]:
    """Ask the worker what it knows, and have it count anew."""
    request = f"GET {FACTS} HTTP/1.1\r\nHost: benchmark\r\nConnection: close\r\n\r\n"
    with server.endpoint.connect(10.0) as sock, sock.makefile("rb") as answer:
        sock.sendall(request.encode())
        body = answer.read().partition(b"\r\n\r\n")[2]
    said: dict[str, Any] = json.loads(body)
    return said


def _count_wakes(run: Run, pid: int) -> None:
    loop = run.facts["loop"][0]
    before = _switches(pid)
    time.sleep(_QUIET)
    after = _switches(pid)
    run.wakes = (after[loop] - before[loop]) / _QUIET
    run.all_wakes = (sum(after.values()) - sum(before.values())) / _QUIET


def _switches(pid: int) -> dict[int, int]:
    """Return how often each thread of a process has waited for something (proc(5))."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        match = _SWITCHES.search((task / "status").read_text(encoding="ascii"))
        found[int(task.name)] = int(match[1]) if match else 0
    return found


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _settled_descriptors(pid: int) -> int:
    """Return how many there are when nothing is open that is about to be closed."""
    time.sleep(1)
    return _descriptors(pid)


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _LEAVE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _table(runs: list[Run]) -> str:
    latencies = [
        [
            f"GET, {phase}",
            *(_milliseconds(run.gets.get(phase, [])) for run in runs),
            f"{statistics.median(run.worst(phase) for run in runs) * 1000:.1f} ms",
        ]
        for phase in _PHASES
    ]
    rows = [
        ("taken over", lambda run: f"{run.taken}", ""),
        ("which took", lambda run: f"{run.seconds:.1f} s", "seconds"),
        ("memory for each", lambda run: f"{run.memory:.0f} B", "memory"),
        ("wake-ups a second, loop", lambda run: f"{run.wakes:.1f}", "wakes"),
        ("wake-ups a second, worker", lambda run: f"{run.all_wakes:.1f}", "all_wakes"),
        ("full collections", _collections, ""),
        ("all have left after", lambda run: f"{run.left_seconds:.1f} s", "left_seconds"),
    ]
    others = [
        [
            title,
            *map(cell, runs),
            f"{statistics.median(getattr(run, name) for run in runs):.1f}" if name else "",
        ]
        for title, cell, name in rows
    ]
    head = ["", *(f"run {number}" for number in range(1, len(runs) + 1))]
    return table([*head, "median (of the worst)"], [*latencies, *others])


def _collections(run: Run) -> str:
    facts = run.facts
    return (
        f"{facts['full']}, worst {facts['full_worst'] * 1000:.0f} ms "
        f"(others {facts['other_worst'] * 1000:.0f} ms)"
    )


def _milliseconds(taken: list[float]) -> str:
    """Say the median, the 99th percentile and the worst."""
    if not taken:
        return "-"
    ordered = sorted(taken)
    found = [ordered[math.ceil(share * len(ordered)) - 1] * 1000 for share in (0.5, 0.99, 1.0)]
    return " / ".join(f"{each:.1f}" for each in found)


def _break_off(number: int, _frame: object) -> None:
    if number == signal.SIGALRM:
        print(f"Broken off after {_WHOLE} s.", file=sys.stderr)
    raise SystemExit(128 + number)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=_bounded, default=0, help=f"({CONNECTIONS})")
    parser.add_argument("--at-once", type=_bounded, default=AT_ONCE, help=f"({AT_ONCE})")
    parser.add_argument("--runs", type=_bounded, default=RUNS, help=f"({RUNS})")
    parser.add_argument("--tls", action="store_true", help=f"TLS ({TLS_CONNECTIONS} connections)")
    return parser.parse_args(arguments)


def _bounded(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 20_000:  # noqa: PLR2004
        raise ValueError(text)
    return number


def main(arguments: list[str]) -> int:
    """Make the runs and print the table."""
    options = _parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, _break_off)  # so that the servers are ended then, too
    wanted = options.connections or (TLS_CONNECTIONS if options.tls else CONNECTIONS)
    connections = machine.raise_descriptor_limit(wanted + _SPARE) - _SPARE
    cores = machine.Cores.split()
    for what, value in machine.versions().items():
        print(f"{what}: {value}")
    print(f"{connections} connections, {options.at_once} at once; {cores}", flush=True)
    setup = Setup(
        worker=OURS["thread"],
        app="take_over_app:application()",
        connections=connections + _SPARE,
        tls=options.tls,
    )
    runs, errors = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, machine.pinned(cores.load):
        for number in range(1, options.runs + 1):
            signal.alarm(_WHOLE)
            try:
                with running(setup, Path(directory), cores) as server:
                    run = measure(server, connections, options.at_once)
            except (ServerFailedError, BadAnswerError, OSError) as exc:
                errors.append(f"run {number}: {exc}")
            else:
                runs.append(run)
                errors += [f"run {number}: {error}" for error in run.errors]
            print(f"[{time.strftime('%H:%M:%S')}] run {number}", file=sys.stderr, flush=True)
    signal.alarm(0)
    if runs:
        print("\n" + _table(runs))
        print("\nGETs: median / 99 % / worst, in milliseconds")
    print(f"\nErrors: {len(errors) or 'none'}")
    for error in errors:
        print(f"- {error}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
