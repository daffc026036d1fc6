"""What a stop loses: TERM under load, again and again, on our workers and on plain gunicorn's.

Sixteen clients ask as fast as they can, half of them on a new connection for each request, half on
kept-alive ones.  Then the arbiter gets TERM.  A request is lost when its connection was made, so
that the client was told it had reached the server, and no whole answer came.  A connection that is
refused is not lost: the client, or its proxy, knows that it has to go elsewhere.

``--stops`` TERMs for each cell of the table; a cell of 100 takes three minutes or so.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from client import LAST_REQUEST, REQUEST, BadAnswerError, exchange
from servers import OURS, PLAIN, ServerFailedError, Setup, running

if TYPE_CHECKING:
    import socket

    from client import Endpoint

CLIENTS = 16
TRANSPORTS = {"TCP": {}, "UNIX": {"unix": True}, "TLS": {"tls": True}}
_TIMEOUT = 8.0
_LOAD_FOR = 0.3
"""Seconds of load before each TERM."""
_STOP_WITHIN = 10.0


@dataclass
class Tally:
    """What came of one cell's requests."""

    stops: int = 0
    answered: int = 0
    lost: collections.Counter[str] = field(default_factory=collections.Counter)
    slowest: float = 0.0
    """The longest time from TERM to the end of the process, in seconds."""

    def __str__(self) -> str:
        return f"{self.lost.total()} of {self.answered + self.lost.total()}"


class Asker(threading.Thread):
    """A client that asks until it is refused, or told to stop."""

    def __init__(self, endpoint: Endpoint, *, keeps: bool, enough: threading.Event) -> None:
        super().__init__(daemon=True)
        self._endpoint = endpoint
        self._keeps = keeps
        self._enough = enough
        self.answered = 0
        self.lost: collections.Counter[str] = collections.Counter()

    def run(self) -> None:
        """Ask; each connection until the server says that it is the last request."""
        while not self._enough.is_set():
            try:
                sock = self._connect()
            except OSError:
                return  # refused: this server is gone
            if sock is not None:
                with sock:
                    self._ask(sock)

    def _connect(self) -> socket.socket | None:
        """Connect; None where it was lost in its TLS handshake.

        Raises:
            OSError: refused.

        """
        plain = dataclasses.replace(self._endpoint, certificate=None).connect(_TIMEOUT)
        if not self._endpoint.certificate:
            return plain
        try:
            return context(self._endpoint).wrap_socket(plain, server_hostname="127.0.0.1")
        except OSError as exc:
            plain.close()
            self._note(exc)
            return None

    def _ask(self, sock: socket.socket) -> None:
        request = REQUEST if self._keeps else LAST_REQUEST
        try:
            while True:
                head = exchange(sock, request)
                self.answered += 1
                if b"\r\nconnection: close" in head.lower() or self._enough.is_set():
                    return
        except (OSError, BadAnswerError) as exc:
            self._note(exc)

    def _note(self, exc: Exception) -> None:
        self.lost[type(exc).__name__] += 1


_contexts: dict[Path, ssl.SSLContext] = {}


def context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return the client's context, which is made once."""
    certificate = endpoint.certificate
    if certificate is None:
        raise ValueError("this endpoint has no TLS")
    if certificate not in _contexts:
        _contexts[certificate] = ssl.create_default_context(cafile=certificate)
    return _contexts[certificate]


def stop_once(setup: Setup, directory: Path, cores: machine.Cores, tally: Tally) -> None:
    """Start a server, load it, send TERM; count what was lost.

    Raises:
        ServerFailedError: it did not start, or does not stop.

    """
    enough = threading.Event()
    with running(setup, directory, cores) as server:
        askers = [Asker(server.endpoint, keeps=bool(n % 2), enough=enough) for n in range(CLIENTS)]
        for each in askers:
            each.start()
        time.sleep(_LOAD_FOR)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        try:
            server.process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            raise server.failed("it does not stop") from None
        finally:
            tally.slowest = max(tally.slowest, time.monotonic() - began)
            enough.set()
            for each in askers:
                each.join(_TIMEOUT)
    tally.stops += 1
    for each in askers:
        tally.answered += each.answered
        tally.lost += each.lost


def measure(stops: int, limit: float) -> dict[tuple[str, str], Tally]:
    """Measure every cell, all of them once in each round, until the time is up."""
    end = time.monotonic() + limit
    sides = {
        "Worker": (OURS["thread"], "with_rawsocket"),
        "gthread": (PLAIN["thread"], "flask_alone"),
        "SyncWorker": (OURS["sync"], "with_rawsocket"),
        "sync": (PLAIN["sync"], "flask_alone"),
    }
    tallies = {(side, name): Tally() for side in sides for name in TRANSPORTS}
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(stops):
            for (side, name), tally in tallies.items():
                if time.monotonic() > end:
                    return tallies
                worker, app = sides[side]
                setup = Setup(worker, f"app:{app}()", **TRANSPORTS[name])
                stop_once(setup, Path(directory), machine.Cores(frozenset(), frozenset()), tally)
    return tallies


def report(tallies: dict[tuple[str, str], Tally]) -> None:
    """Print the table: requests lost of all that were made, and the slowest stop."""
    print(f"\n{'':12}" + "".join(f"{name:>22}" for name in TRANSPORTS) + f"{'slowest':>10}")
    for side in dict.fromkeys(side for side, _ in tallies):
        row = [tallies[side, name] for name in TRANSPORTS]
        slowest = max(each.slowest for each in row)
        print(f"{side:12}" + "".join(f"{each!s:>22}" for each in row) + f"{slowest:8.1f} s")
        for name, each in zip(TRANSPORTS, row, strict=True):
            if each.lost:
                print(f"{'':12}  {name}: {dict(each.lost)} in {each.stops} stops")
    print(f"\nLost of all requests, {max(t.stops for t in tallies.values())} stops a cell.")


def main() -> int:
    """Run it; the exit status is 1 where one of ours has lost something."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stops", type=int, default=100, help="for each cell of the table")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds for all of it")
    options = parser.parse_args()
    try:
        tallies = measure(options.stops, options.limit)
    except ServerFailedError as exc:
        print(exc, file=sys.stderr)
        return 1
    report(tallies)
    return any(tally.lost for (side, _), tally in tallies.items() if side.endswith("Worker"))


if __name__ == "__main__":
    sys.exit(main())
