"""Thousands of bad connections, and what is left of them: ``make bench-bad``.

    python benchmarks/bad_connections.py [--count 20000] [--worker gevent] [--transports tcp]

The bad peers are those of ``tests/test_bad_peers.py``, and some that reset at any moment: garbage,
half heads, aborted uploads, TLS to a plain port and the other way round, clients that leave amid
the response, views that fail. Every transport has a server of its own with one Worker, and every
kind its share of the connections, four at once. Afterwards the worker must be the same process and
answer, with the descriptors that it had before, and with nobody in the map but who asks. Everything
is on 127.0.0.1 or a UNIX socket.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import itertools
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # whose `servers` are meant here

import machine
from certificates import make_certificate
from servers import Client, running, wait_for
from tables import table
from test_bad_peers import HELLO, KINDS, facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import RunningServer

COUNT = 20000
TRANSPORTS = ("tcp", "unix", "tls")
WORKERS = ("gthread", "gevent", "gevent_pywsgi")
AT_ONCE = 4
PATIENCE = 60.0
_WARM_UP = 8
_POST = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
_LONGEST_DELAY = 0.004
_chance = random.Random(20000)  # noqa: S311  # not a secret


def reset_at_any_byte(server: RunningServer) -> None:
    """Send a request as far as some byte, wait for some time, reset."""
    client = server.connect()
    client.send(_POST[: _chance.randrange(1, len(_POST) + 1)])
    time.sleep(_chance.uniform(0, _LONGEST_DELAY))
    client.reset()


def reset_amid_a_handshake(server: RunningServer) -> None:
    """Send a TLS hello as far as some byte, wait for some time, reset."""
    client = Client(server.raw())
    client.send(HELLO[: _chance.randrange(1, len(HELLO) + 1)])
    time.sleep(_chance.uniform(0, _LONGEST_DELAY))
    client.reset()


BAD: list[Callable[[RunningServer], None]] = [*KINDS, reset_at_any_byte, reset_amid_a_handshake]


class Attack:
    """Bad connections to one server, and how many of them there were."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.made: collections.Counter[str] = collections.Counter()
        self.odd: collections.Counter[str] = collections.Counter()

    def misbehave(self, kind: Callable[[RunningServer], None]) -> None:
        """Make a connection of this kind; the server may end it as it likes, but must end it."""
        try:
            kind(self.server)
        except TimeoutError:
            self.odd[f"{kind.__name__}: no end"] += 1
        except ConnectionRefusedError:
            self.odd[f"{kind.__name__}: refused"] += 1
        except (OSError, EOFError):  # the server treats us as we deserve
            pass
        self.made[kind.__name__] += 1

    def make(self, count: int) -> float:
        """Make ``count`` of them; return the seconds that it took."""
        begun = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self.misbehave, itertools.islice(itertools.cycle(BAD), count)):
                pass
        return time.monotonic() - begun


def look(server: RunningServer) -> list[int | None] | None:
    """Return pid, map, the worker's count and descriptors; None where there is no answer."""
    found, descriptors = facts(server)
    return found and [*found, descriptors]


def quiet(server: RunningServer) -> list[int | None] | None:
    """Return what `look` does, once nobody else is connected."""
    found = look(server)
    counted = 1 if server.name == "gthread" else None  # nobody counts greenlets
    return found if found and found[1:3] == [1, counted] else None


def settled(server: RunningServer, before: list[int | None]) -> list[int | None] | list[str]:
    """Give the server's facts as soon as they are ``before``, or as they are in the end.

    Whoever asked a moment before may still be in the map, so one answer alone says nothing.
    """

    def again() -> list[int | None] | None:
        nonlocal after
        after = look(server) or ["no answer"] * 4
        return after if after == before else None

    after: list[int | None] | list[str] = []
    with contextlib.suppress(AssertionError):  # given up: the last answer says what is left
        wait_for(again, "what was before", PATIENCE)
    return after


def measure(worker: str, transport: str, count: int, folder: Path) -> tuple[list[str], list[str]]:
    """Attack a server of its own; give the row of the table, and what went wrong."""
    certificate = make_certificate(folder)
    with running(worker, transport, folder / transport, certificate) as server:
        for _ in range(_WARM_UP):  # what is made once has been made, such as the pool's threads
            look(server)
        before = wait_for(functools.partial(quiet, server), "quiet")
        attack = Attack(server)
        seconds = attack.make(count)
        after = settled(server, before)
        states = [each for each in server.events() if "new" in each]
    opened = sum(each["new"] == "NEW" for each in states)
    closed = [each["id"] for each in states if each["new"] == "CLOSED"]
    wrong = [f"{transport}: {what} ({times})" for what, times in attack.odd.items()]
    names = ("pid", "map", "the worker's count", "descriptors")
    for name, old, new in zip(names, before, after, strict=True):
        if old != new:
            wrong.append(f"{transport}: {name} was {old}, is {new}")
    if len(closed) != len(set(closed)):
        wrong.append(f"{transport}: a connection was closed twice")
    if opened - len(closed) > 1:  # the last that has asked is perhaps still on its way
        wrong.append(f"{transport}: {opened - len(closed)} connections were not closed")
    if opened < count * 0.9:
        wrong.append(f"{transport}: the worker has seen only {opened} connections")
    row = [transport, f"{attack.made.total():,}", f"{opened:,}", f"{len(closed):,}"]
    row += [f"{before[1] - 1} / {after[1] - 1 if after[1] != 'no answer' else after[1]}"]
    row += [f"{before[3]} / {after[3]}", "same" if before[0] == after[0] else "another"]
    return [*row, f"{seconds:.0f} s"], wrong


def _bounded(text: str) -> int:
    number = int(text)
    if not len(BAD) <= number <= 200_000:  # noqa: PLR2004
        raise ValueError(text)
    return number


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=_bounded, default=COUNT, help=f"for each ({COUNT})")
    parser.add_argument("--worker", choices=WORKERS, default=WORKERS[0])
    parser.add_argument("--transports", nargs="+", choices=TRANSPORTS, default=TRANSPORTS)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Attack each transport's server in turn; the exit status is 1 where something was left."""
    options = _parse(arguments)
    machine.leave_on_signals()
    for what, value in machine.versions().items():
        print(f"{what}: {value}")
    rows, wrong = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        for transport in options.transports:
            row, faults = measure(options.worker, transport, options.count, Path(directory))
            rows.append(row)
            wrong += faults
            print(f"[{time.strftime('%H:%M:%S')}] {transport}", file=sys.stderr, flush=True)
    head = (options.worker, "bad connections", "NEW", "CLOSED", "in the map before / after")
    head += ("descriptors before / after", "pid", "took")
    print(f"\n{len(BAD)} kinds, {AT_ONCE} at once\n\n" + table(head, rows))
    print("\n" + "\n".join(wrong or ["Nothing was left."]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
