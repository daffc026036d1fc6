"""WebSocket connections on four threads: ``hijack_async`` beside Flask-Sock on plain gthread.

    python benchmarks/websocket_crowd.py [--connections 5000] [--quick]

Every connection is upgraded and stays open; then, three times, all of them send a message at once
and wait for its echo.  Meanwhile a process of its own makes plain GETs, each on a new connection,
one after the other.  Flask-Sock's view holds its thread for as long as its WebSocket lives, so
with four threads it serves four; to see its memory for each connection a last run gives it a
thread for each, and fewer connections.

*Memory* is the growth of the worker's PSS over what it was after its first WebSocket, with all
connections open, divided by their number; the kernel's socket buffers are not in it.

Everything goes to 127.0.0.1.  The exit status is 1 when something was not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import importlib.util
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from client import BadAnswerError, warm_up
from probe import Probe
from servers import OURS, PLAIN, THREADS, Server, ServerFailedError, Setup, running
from websocket_app import FACTORIES, PATH
from websocket_client import Crowd
from websocket_report import Result, Side, tables

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 5000
QUICK_CONNECTIONS = 500
ROUNDS = 3
THREAD_EACH = 500
"""How many connections Flask-Sock gets where it has a thread for each: two threads, in fact."""

_WHOLE = 110  # seconds, after which everything is broken off
_CONNECT = 20.0
_UPGRADE = 20.0
_UPGRADE_THAT_MAY_FAIL = 10.0
_ECHO = 10.0
_CLOSE = 10.0
_QUIET = 1.0
_WARM_UP = 100
_SPARE = 300  # descriptors and connections beside those of the crowd


async def measure(side: Side, server: Server, say: Callable[[str], None]) -> Result:
    """Open a side's connections, have them echo, and close them."""
    result = Result(side)
    await _prepare(server)
    pid = server.worker_pid()
    descriptors = _descriptors(pid)
    before = machine.Memory.settled(pid).pss
    probe = Probe(server.endpoint)
    crowd = Crowd(server.endpoint, PATH)
    try:
        probe.phase("nothing")
        await asyncio.sleep(_QUIET)
        await _open(crowd, probe, result)
        say(f"{result.upgraded} of {side.connections} upgraded")
        result.memory.append((machine.Memory.settled(pid).pss - before) / side.connections)
        await _echo(crowd, probe, result)
        say(f"echoed {result.echoed}")
        result.gets = probe.stop()
        result.memory.append((machine.Memory.settled(pid).pss - before) / side.connections)
        result.errors += [f"gunicorn: {line}" for line in server.complaints()]
        if side.serves_all:
            await _close(crowd, result)
            if not await _returns(lambda: _descriptors(pid) <= descriptors):
                result.errors.append(f"{_descriptors(pid) - descriptors} descriptors stayed open")
            result.errors += [f"gunicorn: {line}" for line in server.complaints()]
            if server.worker_pid() != pid:
                result.errors.append("the worker has been replaced")
    finally:
        crowd.leave()
        probe.close()
    result.errors += crowd.errors()
    return result


async def _prepare(server: Server) -> None:
    """Have everything loaded and started that the first requests load and start."""
    warm_up(server.endpoint, _WARM_UP)
    crowd = Crowd(server.endpoint, PATH)
    await crowd.connect(1, _CONNECT)
    await crowd.upgraded(_UPGRADE)
    await crowd.echo(0, _ECHO)
    if await crowd.close(_CLOSE) != 1:
        raise server.failed(f"the first WebSocket does not work: {crowd.errors()}")
    crowd.leave()


async def _open(crowd: Crowd, probe: Probe, result: Result) -> None:
    side = result.side
    probe.phase("they are being upgraded")
    begun = time.monotonic()
    await crowd.connect(side.connections, _CONNECT)
    result.upgraded = await crowd.upgraded(_UPGRADE if side.serves_all else _UPGRADE_THAT_MAY_FAIL)
    result.open_seconds = time.monotonic() - begun
    if side.serves_all and result.upgraded != side.connections:
        result.errors.append(f"{side.connections - result.upgraded} were not upgraded")
    probe.phase("all are open and silent")
    await asyncio.sleep(_QUIET)


async def _echo(crowd: Crowd, probe: Probe, result: Result) -> None:
    probe.phase("all echo")
    for number in range(1, ROUNDS + 1):
        begun = time.monotonic()
        echoed = await crowd.echo(number, _ECHO)
        result.round_seconds.append(time.monotonic() - begun)
        result.echoed.append(echoed)
        if echoed != result.upgraded:
            result.errors.append(f"round {number}: {result.upgraded - echoed} without an echo")


async def _close(crowd: Crowd, result: Result) -> None:
    closed = await crowd.close(_CLOSE)
    if closed != result.upgraded:
        result.errors.append(f"{result.upgraded - closed} got no close frame")


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def _returns(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _CLOSE
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def _sides(connections: int, *, flask_sock: bool) -> list[Side]:
    ours = Side("hijack_async", OURS["thread"], "hijacked", THREADS, connections, serves_all=True)
    if not flask_sock:
        return [ours]
    title, plain, few = "Flask-Sock, gthread", PLAIN["thread"], min(connections, THREAD_EACH)
    return [
        ours,
        Side(title, plain, "flask_sock", THREADS, connections, serves_all=False),
        # Beside the connections a thread for the GETs, and one that is not yet free of the last.
        Side(title, plain, "flask_sock", few + 2, few, serves_all=True),
    ]


def _allowed(wanted: int) -> int:
    """Raise the descriptor limit, and say so when it stays too low."""
    allowed = machine.raise_descriptor_limit(wanted + _SPARE) - _SPARE
    if allowed < wanted:
        print(f"RLIMIT_NOFILE could not be raised: {allowed} connections instead of {wanted}")
    return min(wanted, allowed)


def _introduce(cores: machine.Cores) -> None:
    found = machine.versions()
    del found["wrk"]
    for package in ("wsproto", "flask-sock", "simple-websocket"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    for what, value in found.items():
        print(f"{what}: {value}")
    print(f"one worker; {cores}", flush=True)


def _break_off(number: int, _frame: object) -> None:
    if number == signal.SIGALRM:
        print(f"Broken off after {_WHOLE} s.", file=sys.stderr)
    raise SystemExit(128 + number)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main() -> int:
    """Measure every side and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=_positive, help=f"how many ({CONNECTIONS})")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CONNECTIONS} connections")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, _break_off)  # the servers are ended then, too
    signal.alarm(_WHOLE)
    wanted = options.connections or (QUICK_CONNECTIONS if options.quick else CONNECTIONS)
    cores = machine.Cores.split()
    _introduce(cores)
    count = _allowed(wanted)
    if count < 1:
        return 1
    has_flask_sock = importlib.util.find_spec("flask_sock") is not None
    if not has_flask_sock:
        print("Flask-Sock is not installed: not measured.")
    results, errors = _measure_all(_sides(count, flask_sock=has_flask_sock), cores)
    print("\n" + tables(results))
    print(f"\nErrors: {len(errors) or 'none'}")
    for error in errors:
        print(f"- {error}")
    return 1 if errors else 0


def _measure_all(sides: list[Side], cores: machine.Cores) -> tuple[list[Result], list[str]]:
    results: list[Result] = []
    errors: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        machine.pinned(cores.load),
    ):
        for side in sides:
            name = f"{side.title}, {side.threads} threads"

            def say(what: str, name: str = name) -> None:
                print(f"[{time.strftime('%H:%M:%S')}] {name}: {what}", file=sys.stderr, flush=True)

            setup = Setup(
                worker=side.worker,
                app=f"websocket_app:{FACTORIES[side.factory].__name__}()",
                connections=side.connections + _SPARE,
                threads=side.threads,
            )
            try:
                with running(setup, Path(directory), cores) as server:
                    result = asyncio.run(measure(side, server, say))
            except (ServerFailedError, BadAnswerError, OSError) as exc:
                errors.append(f"{name}, could not be measured: {exc}")
            else:
                results.append(result)
                errors += [f"{name}: {error}" for error in result.errors]
    return results, errors


if __name__ == "__main__":
    sys.exit(main())
