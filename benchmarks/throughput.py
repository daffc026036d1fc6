"""Requests each second, plain and ours in turn: A B A B ..., on several pairs of servers.

Beside the wall clock, which a busy machine disturbs, the worker's CPU time for each
request is taken: it says the same with less noise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from client import warm_up
from servers import running

if TYPE_CHECKING:
    from collections.abc import Callable

    from client import Endpoint
    from scenarios import Bench, Throughput
    from servers import Server

_GRACE = 15.0
_WRK_RESULT = re.compile(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m),", re.MULTILINE)
_WRK_P99 = re.compile(r"^ +99% +([\d.]+)(us|ms|s|m)$", re.MULTILINE)
_WRK_SOCKET_ERRORS = re.compile(r"^\s*Socket errors: (.*)$", re.MULTILINE)
_WRK_BAD_STATUS = re.compile(r"^\s*(Non-2xx or 3xx responses: \d+)$", re.MULTILINE)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class LoadFailedError(Exception):
    """The load could not be run, or said nothing that we understand."""


@dataclass(frozen=True)
class Sample:
    """One run on one side."""

    requests: int
    seconds: float
    cpu_seconds: float | None
    errors: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Requests each second."""
        return self.requests / self.seconds

    @property
    def cpu_per_request(self) -> float | None:
        """The worker's microseconds of CPU for each request."""
        if self.cpu_seconds is None or not self.requests:
            return None
        return self.cpu_seconds / self.requests * 1e6


@dataclass(frozen=True)
class Loaded:
    """What the load generator says of one run."""

    requests: int
    seconds: float
    p99: float
    """Seconds within which 99 % of the requests were answered."""
    errors: tuple[str, ...]


def measure(
    scenario: Throughput,
    bench: Bench,
    progress: Callable[[str], None],
) -> dict[str, list[Sample]]:
    """Run both sides in turn, on as many pairs of fresh servers as the effort says.

    Raises:
        ServerFailedError, LoadFailedError, BadAnswerError, OSError: a side cannot be measured.

    """
    setups = bench.setups(scenario.kind, unix=scenario.unix, tls=scenario.tls)
    samples: dict[str, list[Sample]] = {side: [] for side in setups}
    for pair in range(1, bench.effort.pairs + 1):
        with contextlib.ExitStack() as stack:
            servers = {
                side: stack.enter_context(running(setup, bench.directory, bench.cores))
                for side, setup in setups.items()
            }
            for server in servers.values():
                warm_up(server.endpoint, bench.effort.warm_up_requests)
            for _ in range(bench.effort.rounds):
                for side, server in servers.items():
                    samples[side].append(_run(scenario, server, bench))
            _note_complaints(servers, samples)
        rates = (f"{side} {_rates(samples[side][-bench.effort.rounds :])}" for side in samples)
        progress(f"pair {pair}: {'; '.join(rates)}")
    return samples


def _rates(samples: list[Sample]) -> str:
    return " ".join(f"{sample.rate:.0f}" for sample in samples) + " /s"


def _run(scenario: Throughput, server: Server, bench: Bench) -> Sample:
    pid = server.worker_pid()
    before = machine.cpu_seconds(pid)
    loaded = load(server.endpoint, bench, close=scenario.close)
    after = machine.cpu_seconds(pid)
    used = None if before is None or after is None else after - before
    errors = loaded.errors
    if server.worker_pid() != pid:
        errors += ("gunicorn: the worker was replaced during the run",)
    return Sample(loaded.requests, loaded.seconds, used, errors)


def _note_complaints(servers: dict[str, Server], samples: dict[str, list[Sample]]) -> None:
    """Hand what the servers' logs complain of to the last run of their side."""
    for side, server in servers.items():
        if said := tuple(f"gunicorn: {line}" for line in server.complaints()):
            last = samples[side][-1]
            samples[side][-1] = dataclasses.replace(last, errors=last.errors + said)


def load(endpoint: Endpoint, bench: Bench, *, close: bool = False) -> Loaded:
    """Load a server for the seconds of a run: with wrk where it can and is installed.

    Raises:
        LoadFailedError: it could not be run, or not one request was answered.

    """
    effort = bench.effort
    if endpoint.path or (shutil.which("wrk") is None and not endpoint.certificate):
        command = [sys.executable, str(Path(__file__).with_name("load.py"))]
        command += ["--connections", str(effort.load_connections)]
        command += ["--seconds", str(effort.seconds), *(["--close"] if close else [])]
        target = str(endpoint.path or f"{endpoint.host}:{endpoint.port}")
        return _read_own(_output([*command, target], bench))
    command = ["wrk", "--threads", "1", "--connections", str(effort.load_connections)]
    command += ["--duration", f"{effort.seconds}s", "--timeout", "5s", "--latency"]
    command += ["--header", "Connection: close"] if close else []
    return _read_wrk(_output([*command, endpoint.url], bench))


def _output(command: list[str], bench: Bench) -> str:
    """Run a load generator on its cores, for a bounded time."""
    limit = bench.effort.seconds + _GRACE
    try:
        with machine.pinned(bench.cores.load):
            run = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
    except FileNotFoundError as exc:
        raise LoadFailedError("wrk is not installed: apt-get install wrk") from exc
    except subprocess.TimeoutExpired as exc:
        raise LoadFailedError(f"{command[0]} did not end within {limit:.0f} s") from exc
    if run.returncode:
        said = run.stderr.strip() or run.stdout.strip()
        raise LoadFailedError(f"{command[0]} ended with {run.returncode}: {said}")
    return run.stdout


def _read_wrk(text: str) -> Loaded:
    result = _WRK_RESULT.search(text)
    if result is None:
        raise LoadFailedError(f"wrk said something else than expected:\n{text}")
    errors = [f"wrk: {bad[1]}" for bad in _WRK_BAD_STATUS.finditer(text)]
    errors += [f"wrk: socket errors: {bad[1]}" for bad in _WRK_SOCKET_ERRORS.finditer(text)]
    p99 = _WRK_P99.search(text)
    return _checked(
        Loaded(
            requests=int(result[1]),
            seconds=float(result[2]) * _SECONDS[result[3]],
            p99=float(p99[1]) * _SECONDS[p99[2]] if p99 else math.nan,
            errors=tuple(errors),
        )
    )


def _read_own(text: str) -> Loaded:
    said = json.loads(text)
    errors = tuple(f"load: {what} ({count} times)" for what, count in said["errors"].items())
    return _checked(Loaded(said["requests"], said["seconds"], said["p99"], errors))


def _checked(loaded: Loaded) -> Loaded:
    if not loaded.requests:
        said = "; ".join(loaded.errors) or "no errors"
        raise LoadFailedError(f"not one request was answered: {said}")
    return loaded
