"""The same Flask application on ours and on other servers: ``make bench-peers``.

    python benchmarks/peers.py [--rounds 20] [--servers gthread ours waitress]

Every server runs in one process (uWSGI has its HTTP router in a second one) with four threads,
all of them on one core, and the load comes from the other, on 16 kept-alive connections. Rounds
alternate between the servers and last one second each; a ratio is taken within a round and is the
median over the rounds, so that what slows the machine for some seconds slows both of its sides.

*CPU* is that of all processes of a server.  *RSS* is that of the process that used most of it.
*p99* is the median over the rounds. Beside the silent connections, which send nothing, the load
opens its connections after them; a server that answers none of its requests is given up.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.metadata
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import machine
import throughput
from client import BadAnswerError, warm_up
from scenarios import FULL, Bench
from servers import OURS, THREADS, Launch, Server, ServerFailedError, launched
from tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 20
SILENT = 400
CONNECTIONS = 1000
_SILENT_RUNS = 3
_CONNECT_TIMEOUT = 5.0
_SCRIPTS = Path(sys.executable).parent
_APP = "peer_app:application"
_FAILURES = (ServerFailedError, throughput.LoadFailedError, BadAnswerError, OSError)


def _gunicorn(worker: str, host: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "gunicorn", "--config", os.devnull, "--no-control-socket"]
    command += ["--bind", f"{host}:{port}", "--workers", "1", "--worker-class", worker]
    command += ["--worker-connections", str(CONNECTIONS), "--keep-alive", "10"]
    command += ["--graceful-timeout", "1"]
    return [*command, *([] if worker == "gevent" else ["--threads", str(THREADS)]), _APP]


def _waitress(host: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "waitress", f"--listen={host}:{port}"]
    return [*command, f"--threads={THREADS}", f"--connection-limit={CONNECTIONS}", _APP]


def _cheroot(_host: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "peer_cheroot"]
    return [*command, *map(str, (port, THREADS, CONNECTIONS))]


def _uwsgi(host: str, port: int) -> list[str]:
    command = [_uwsgi_program() or "uwsgi", "--http", f"{host}:{port}", "--http-keepalive"]
    command += ["--master", "--processes", "1", "--threads", str(THREADS), "--die-on-term"]
    command += ["--disable-logging", "--need-app", "--virtualenv", sys.prefix]
    return [*command, "--module", _APP]


def _uwsgi_program() -> str | None:
    """Find it in this environment: PyPI has it under two names."""
    return next(filter(None, (shutil.which(name, path=_SCRIPTS) for name in _UWSGI)), None)


def _granian(host: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", host]
    command += ["--port", str(port), "--workers", "1", "--blocking-threads", str(THREADS)]
    return [*command, "--no-access-log", _APP]


_UWSGI = ("pyuwsgi", "uwsgi")
BASE = "gthread"
#: A server's name: its packages on PyPI, one of which is needed, and its command.
PEERS: dict[str, tuple[tuple[str, ...], Callable[[str, int], list[str]]]] = {
    BASE: (("gunicorn",), functools.partial(_gunicorn, "gthread")),
    "ours": (("flask-rawsocket",), functools.partial(_gunicorn, OURS["thread"])),
    "gevent": (("gevent",), functools.partial(_gunicorn, "gevent")),
    "waitress": (("waitress",), _waitress),
    "cheroot": (("cheroot",), _cheroot),
    "uWSGI": (_UWSGI, _uwsgi),
    "granian": (("granian",), _granian),
}


@dataclass
class Peer:
    """A running server, and what was measured of it."""

    name: str
    server: Server
    loads: list[throughput.Loaded] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    """CPU seconds for each request, by round."""
    rss: int = 0
    beside_silent: str = ""

    @property
    def rates(self) -> list[float]:
        """Requests each second, by round."""
        return [load.requests / load.seconds for load in self.loads]

    def run(self, bench: Bench) -> None:
        """Measure a round."""
        before = self._cpu()
        loaded = throughput.load(self.server.endpoint, bench)
        used = self._cpu() - before
        self.loads.append(loaded)
        self.costs.append(used / loaded.requests)

    def _cpu(self) -> float:
        return sum(machine.cpu_seconds(pid) or 0.0 for pid in self._processes())

    def _processes(self) -> list[int]:
        return machine.family(self.server.process.pid)

    def weigh(self) -> None:
        """Read the memory of the process that serves."""
        busiest = max(self._processes(), key=lambda pid: machine.cpu_seconds(pid) or 0.0)
        self.rss = machine.Memory.of(busiest).rss

    def run_beside_silent(self, bench: Bench) -> None:
        """Measure the latency beside connections that send nothing."""
        with contextlib.ExitStack() as stack:
            for _ in range(SILENT):
                stack.enter_context(self.server.endpoint.connect(_CONNECT_TIMEOUT))
            try:
                loads = [throughput.load(self.server.endpoint, bench) for _ in range(_SILENT_RUNS)]
            except throughput.LoadFailedError:
                self.beside_silent = f"no answer in {bench.effort.seconds} s"
            else:
                self.beside_silent = _milliseconds(loads)

    def row(self, base: Peer) -> list[str]:
        """Give its line of the table."""
        faster = [ours / plain for ours, plain in zip(self.rates, base.rates, strict=True)]
        cheaper = [plain / ours for ours, plain in zip(self.costs, base.costs, strict=True)]
        return [
            self.name,
            f"{statistics.median(self.rates):.0f}",
            f"{statistics.median(faster):.2f}",
            f"{statistics.median(self.costs) * 1e6:.0f}",
            f"{statistics.median(cheaper):.2f}",
            f"{self.rss / 2**20:.0f}",
            _milliseconds(self.loads),
            self.beside_silent,
        ]


def _milliseconds(loads: list[throughput.Loaded]) -> str:
    return f"{statistics.median(load.p99 for load in loads) * 1000:.1f} ms"


_HEAD = (
    "server",
    "req/s",
    f"req/s / {BASE}",
    "CPU us/req",
    f"{BASE} CPU / CPU",
    "RSS MiB",
    "p99",
    f"p99 beside {SILENT} silent",
)


def _installed(name: str) -> str | None:
    for package in PEERS[name][0]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return None


def _start(names: list[str], bench: Bench, stack: contextlib.ExitStack) -> list[Peer]:
    """Start what is installed, and say what is not."""
    peers = []
    for name in names:
        packages, command = PEERS[name]
        if (version := _installed(name)) is None:
            print(f"{name} is left out: {' or '.join(packages)} is not installed.")
            continue
        print(f"{name}: {version}", flush=True)
        try:
            launch = Launch.on_tcp(command)
            server = stack.enter_context(launched(launch, bench.directory, bench.cores))
            warm_up(server.endpoint, bench.effort.warm_up_requests)
        except _FAILURES as exc:
            print(f"{name} is left out: {exc}")
        else:
            peers.append(Peer(name, server))
    if [peer.name for peer in peers[:1]] != [BASE]:
        raise ServerFailedError(f"without {BASE} there is nothing to compare with")
    return peers


def _measure(peers: list[Peer], bench: Bench) -> None:
    for number in range(bench.effort.rounds):
        first = number % len(peers)  # so that nobody always follows the same one
        for peer in peers[first:] + peers[:first]:
            peer.run(bench)
        print(f"[{time.strftime('%H:%M:%S')}] round {number + 1}", file=sys.stderr, flush=True)
    for peer in peers:
        peer.weigh()
    for peer in peers:
        peer.run_beside_silent(bench)


def _report(peers: list[Peer]) -> list[str]:
    """Print the table; return the errors."""
    base = next(peer for peer in peers if peer.name == BASE)
    print("\n" + table(_HEAD, [peer.row(base) for peer in peers]))
    found = {f"{p.name}: {error}": None for p in peers for load in p.loads for error in load.errors}
    return list(found)


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:  # noqa: PLR2004
        raise ValueError(text)
    return number


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=_positive, default=ROUNDS, help=f"({ROUNDS})")
    parser.add_argument("--servers", nargs="+", choices=PEERS, default=list(PEERS))
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Measure the chosen servers and print their table."""
    options = _parse(arguments)
    machine.leave_on_signals()
    for what, value in machine.versions().items():
        print(f"{what}: {value}")
    names = [BASE, *(name for name in dict.fromkeys(options.servers) if name != BASE)]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, contextlib.ExitStack() as stack:
        effort = dataclasses.replace(FULL, rounds=options.rounds, seconds=1)
        bench = Bench(effort, "flask-alone", machine.Cores.split(), Path(directory))
        print(f"{bench.cores}; {THREADS} threads; {effort.rounds} rounds of {effort.seconds} s")
        stack.enter_context(machine.pinned(bench.cores.load))
        try:
            peers = _start(names, bench, stack)
            _measure(peers, bench)
        except _FAILURES as exc:
            print(f"could not be measured: {exc}", file=sys.stderr)
            return 1
        errors = _report(peers)
    print(f"\nErrors: {len(errors) or 'none'}")
    for error in errors:
        print(f"- {error}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
