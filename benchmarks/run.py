"""Plain gunicorn and Flask-RawSocket side by side: ``make bench``.

Without arguments every scenario runs in full (about ten minutes); with names, those.
The exit status is 1 when a scenario failed or a run saw an error; a target that is
missed is a result, not an error.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import app as apps
import machine
import memory
import report
import silent
import throughput
from client import BadAnswerError
from scenarios import FULL, QUICK, SCENARIOS, Bench, Effort, IdleMemory, Throughput
from servers import OURS, PLAIN, THREADS, ServerFailedError
from tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

_FAILURES = (ServerFailedError, throughput.LoadFailedError, BadAnswerError, OSError)


class Results:
    """The rows and errors that the scenarios leave, in their order."""

    def __init__(self) -> None:
        self.throughput: list[list[str]] = []
        self.memory: list[list[str]] = []
        self.silent: list[list[str]] = []
        self.errors: list[str] = []

    def add(self, name: str, bench: Bench) -> None:
        """Run one scenario; what stops it becomes an error of the report."""
        scenario = SCENARIOS[name]
        say = _progress(name)
        try:
            if isinstance(scenario, Throughput):
                rates = throughput.measure(scenario, bench, say)
                self.throughput.append(report.throughput_row(name, rates))
                self.errors += report.error_lines(name, rates)
            elif isinstance(scenario, IdleMemory):
                growth = memory.measure(scenario, bench, say)
                self.memory.append(report.memory_row(name, growth))
                self.errors += report.error_lines(name, growth)
            else:
                latencies = silent.measure(bench, say)
                self.silent += report.silent_rows(latencies)
                self.errors += report.error_lines(name, latencies)
        except _FAILURES as exc:
            say(f"failed: {str(exc).partition(chr(10))[0]}")
            self.errors.append(f"{name} could not be measured: {exc}")

    def show(self) -> None:
        """Print the tables that have rows, then the errors, or that there were none."""
        sections = (
            ("Throughput", report.THROUGHPUT_HEAD, self.throughput),
            ("Memory for each idle keep-alive connection", report.MEMORY_HEAD, self.memory),
            ("One GET beside silent connections", report.SILENT_HEAD, self.silent),
        )
        for title, head, rows in sections:
            if rows:
                print(f"\n{title}\n\n{table(head, rows)}")
        print(f"\nErrors: {len(self.errors) or 'none'}")
        for error in self.errors:
            print(f"- {error}")


def _progress(name: str) -> Callable[[str], None]:
    def say(what: str) -> None:
        print(f"[{time.strftime('%H:%M:%S')}] {name}: {what}", file=sys.stderr, flush=True)

    return say


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Scenarios: " + ", ".join(SCENARIOS)
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="which to run (all)")
    parser.add_argument("--quick", action="store_true", help="a rough look, in about 90 s")
    parser.add_argument("--app", choices=sorted(apps.FACTORIES), default="flask")
    parser.add_argument("--plain-twice", action="store_true", help="plain on both sides: the noise")
    parser.add_argument("--pairs", type=_positive, help="fresh pairs of servers")
    parser.add_argument("--rounds", type=_positive, help="runs of each side, on each pair")
    parser.add_argument("--seconds", type=_positive, help="length of a throughput run")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.scenarios if name not in SCENARIOS]:
        parser.error(f"no such scenario: {', '.join(unknown)} (there are {', '.join(SCENARIOS)})")
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _effort(options: argparse.Namespace) -> Effort:
    effort = QUICK if options.quick else FULL
    changes: dict[str, int] = {}
    if options.pairs:
        changes |= {"pairs": options.pairs}
    if options.rounds:
        changes |= {"rounds": options.rounds, "memory_rounds": options.rounds}
    if options.seconds:
        changes |= {"seconds": options.seconds}
    return dataclasses.replace(effort, **changes)


def _introduce(bench: Bench) -> None:
    for what, value in machine.versions().items():
        print(f"{what}: {value}")
    second = PLAIN if bench.plain_twice else OURS
    print(f"workers: {', '.join(f'{PLAIN[kind]} | {second[kind]}' for kind in PLAIN)}")
    print(f"server: 1 worker, {THREADS} threads; application: {bench.app}; {bench.cores}")
    effort = bench.effort
    print(
        f"load: {effort.load_connections} connections; {effort.pairs} fresh pairs of servers,"
        f" {effort.rounds} runs of {effort.seconds} s for each side of a pair, in turn",
        flush=True,
    )


def main(arguments: list[str]) -> int:
    """Run the chosen scenarios and print their report."""
    options = _parse(arguments)
    machine.leave_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        bench = Bench(
            effort=_effort(options),
            app=options.app,
            cores=machine.Cores.split(),
            directory=Path(directory),
            plain_twice=options.plain_twice,
        )
        _introduce(bench)
        results = Results()
        started = time.monotonic()
        with machine.pinned(bench.cores.load):
            for name in dict.fromkeys(options.scenarios or SCENARIOS):
                results.add(name, bench)
        results.show()
        loads = ", ".join(f"{load:.2f}" for load in os.getloadavg())
        print(f"Took {time.monotonic() - started:.0f} s; load average at the end {loads}.")
    return 1 if results.errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
