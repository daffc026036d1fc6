"""GETs of somebody else beside slow and broken peers: ours, plain gthread, waitress.

    python benchmarks/slow_peers.py [--seconds 25] [--attacks "one byte" "no reader"]

Forty connections of one kind attack a server with four threads; who is thrown out comes again
a second later. Meanwhile another process makes GETs, one after the other, each on a new
connection, and gives up on one after some seconds. The servers are attacked at the same time,
each a fresh one for every attack. Nobody is attacked but the servers started here.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from client import warm_up
from probe import Probe
from servers import OURS, PLAIN, THREADS, Launch, ServerFailedError, Setup, launched, running
from slow_attacks import ATTACKERS, PLAIN_ATTACKS, TLS_ATTACKS, attacked, impossible
from tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Server

    Start = Callable[..., contextlib.AbstractContextManager[Server]]

SECONDS = 25
_GET_TIMEOUT = 5.0
_GET_PAUSE = 0.1
_WARM_UP = 20
_APP = "slow_app:application"
_NOWHERE = machine.Cores.everywhere()


def _gunicorn(
    worker: str, directory: Path, *, tls: bool
) -> contextlib.AbstractContextManager[Server]:
    return running(Setup(worker=worker, app=_APP, tls=tls), directory, _NOWHERE)


def _waitress(directory: Path, *, tls: bool) -> contextlib.AbstractContextManager[Server]:
    if tls:
        raise ServerFailedError("waitress has no TLS")

    def command(host: str, port: int) -> list[str]:
        started = [sys.executable, "-m", "waitress", f"--listen={host}:{port}"]
        return [*started, f"--threads={THREADS}", "--connection-limit=1000", _APP]

    return launched(Launch.on_tcp(command), directory, _NOWHERE)


SIDES: dict[str, Start] = {
    "ours": functools.partial(_gunicorn, OURS["thread"]),
    "gthread": functools.partial(_gunicorn, PLAIN["thread"]),
    "waitress": _waitress,
}


def measure(attack: str, sides: list[str], directory: Path, seconds: int) -> list[str]:
    """Attack all the sides at once; give a row of the table."""
    tls = attack in TLS_ATTACKS
    able = [side for side in sides if not (tls and side == "waitress")]
    with contextlib.ExitStack() as stack:
        probes = {}
        for side in able:
            server = stack.enter_context(SIDES[side](directory, tls=tls))
            warm_up(server.endpoint, _WARM_UP)
            probes[side] = Probe(server.endpoint, timeout=_GET_TIMEOUT, pause=_GET_PAUSE)
            stack.callback(probes[side].close)
            stack.enter_context(attacked(attack, server.endpoint))
        time.sleep(1)  # so that all of them have begun
        for probe in probes.values():
            probe.phase(attack)
        time.sleep(seconds)
        taken = {side: probe.stop()[attack] for side, probe in probes.items()}
    return [attack, *(_cell(taken.get(side)) for side in sides)]


def _cell(taken: list[float] | None) -> str:
    if taken is None:
        return "no TLS"
    answered = [seconds for seconds in taken if seconds < math.inf]
    share = f"{len(answered)} of {len(taken)}"
    if not answered:
        return share
    median, worst = statistics.median(answered), max(answered)
    return f"{share}, {median * 1000:.1f} ms, worst {worst * 1000:.0f}"


def _sides() -> list[str]:
    if importlib.util.find_spec("waitress"):
        return list(SIDES)
    print("waitress is left out: it is not installed.")
    return [side for side in SIDES if side != "waitress"]


def _parse(arguments: list[str]) -> argparse.Namespace:
    attacks = [*PLAIN_ATTACKS, *TLS_ATTACKS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=_bounded, default=SECONDS, help=f"({SECONDS})")
    parser.add_argument("--attacks", nargs="+", choices=attacks, default=attacks)
    return parser.parse_args(arguments)


def _bounded(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 600:  # noqa: PLR2004
        raise ValueError(text)
    return number


def main(arguments: list[str]) -> int:
    """Make the chosen attacks and print the table."""
    options = _parse(arguments)
    machine.leave_on_signals()
    for what, value in machine.versions().items():
        print(f"{what}: {value}")
    print(f"{ATTACKERS} attackers, {THREADS} threads, {options.seconds} s for each attack")
    sides = _sides()
    rows, errors = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        for attack in options.attacks:
            if reason := impossible(attack):
                print(reason)
                continue
            try:
                rows.append(measure(attack, sides, Path(directory), options.seconds))
            except (ServerFailedError, OSError) as exc:
                errors.append(f"{attack}: {exc}")
            print(f"[{time.strftime('%H:%M:%S')}] {attack}", file=sys.stderr, flush=True)
    print(
        "\n"
        + table((f"{ATTACKERS} of", *(f"{side}: answered, median, worst" for side in sides)), rows)
    )
    print(f"\nErrors: {len(errors) or 'none'}")
    for error in errors:
        print(f"- {error}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
