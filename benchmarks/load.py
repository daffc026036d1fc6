"""A bounded load generator for UNIX sockets, which wrk cannot reach; a process of its own.

It takes the place of wrk on TCP too, where that is not installed.

One thread, non-blocking sockets, each with one request under way: what wrk does, with
every answer checked.  It ends after ``--seconds``, or after ``--requests``, whichever
comes first, and prints one JSON object.  An error is counted, never hidden, and never
retried without bound.
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

from app import BODY
from client import LAST_REQUEST, REQUEST, BadAnswerError, answer_end

_BODY = b"\r\n\r\n" + BODY.encode()
_RECEIVE = 65536
_STALLED_AFTER = 5.0
_MAX_ERRORS = 1000


@dataclass
class Tally:
    """What came of the requests."""

    requests: int = 0
    seconds: float = 0.0
    errors: collections.Counter[str] = field(default_factory=collections.Counter)
    taken: list[float] = field(default_factory=list)

    def p99(self) -> float:
        """Say within how many seconds 99 % of the requests were answered."""
        ordered = sorted(self.taken)
        return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else math.nan

    def as_json(self) -> str:
        """Return it as the parent process reads it."""
        return json.dumps(
            {
                "requests": self.requests,
                "seconds": self.seconds,
                "p99": self.p99(),
                "errors": dict(self.errors),
            },
        )


class Client:
    """One connection at a time, with one request under way."""

    def __init__(self, target: str, request: bytes, tally: Tally) -> None:
        self._target = target
        self._request = request
        self._tally = tally
        self._received = b""
        self._last = False
        self.asked_at = 0.0
        self.sock = self._connected()

    def _connected(self) -> socket.socket:
        host, colon, port = self._target.rpartition(":")
        sock = socket.socket(socket.AF_INET if colon else socket.AF_UNIX)
        try:
            sock.settimeout(_STALLED_AFTER)  # a full backlog makes connect() wait
            sock.connect((host, int(port)) if colon else self._target)
            sock.settimeout(0)
            self.asked_at = time.perf_counter()
            sock.sendall(self._request)  # some 60 bytes: a fresh send buffer takes them whole
        except BaseException:
            sock.close()
            raise
        return sock

    def on_readable(self) -> bool:
        """Read; return False when the connection has to be replaced."""
        chunk = self.sock.recv(_RECEIVE)
        if not chunk:
            raise BadAnswerError("the server closed the connection before its answer was complete")
        self._received += chunk
        end = answer_end(self._received)
        if end is None:
            return True
        self._check(self._received[:end])
        rest, self._received = self._received[end:], b""
        if rest:
            raise BadAnswerError("bytes that nobody asked for, behind an answer")
        return self._next()

    def _check(self, answer: bytes) -> None:
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise BadAnswerError("status " + answer[9:12].decode("latin-1"))
        if not answer.endswith(_BODY):
            raise BadAnswerError("another body")
        self._tally.requests += 1
        self._tally.taken.append(time.perf_counter() - self.asked_at)
        self._last = b"\r\nConnection: close" in answer

    def _next(self) -> bool:
        if self._last:
            return False
        self.asked_at = time.perf_counter()
        self.sock.sendall(self._request)
        return True

    def reconnect(self) -> None:
        """Close and begin again on a new connection."""
        self.sock.close()
        self._received = b""
        self.sock = self._connected()


class Load:
    """The clients of one run."""

    def __init__(self, options: argparse.Namespace) -> None:
        request = LAST_REQUEST if options.close else REQUEST
        self._options = options
        self.tally = Tally()
        self._selector = selectors.DefaultSelector()
        self._clients = [
            Client(options.target, request, self.tally) for _ in range(options.connections)
        ]

    def run(self) -> Tally:
        """Load the server until the time or the number of requests is up."""
        for client in self._clients:
            self._selector.register(client.sock, selectors.EVENT_READ, client)
        started = time.perf_counter()
        end = started + self._options.seconds
        while not self._finished() and (now := time.perf_counter()) < end:
            ready = self._selector.select(min(end - now, _STALLED_AFTER))
            if not ready and time.perf_counter() < end:
                self.tally.errors[f"no answer on any connection for {_STALLED_AFTER:.0f} s"] += 1
            for key, _ in ready:
                self._serve(key.data)
        ended = time.perf_counter()
        self.tally.seconds = ended - started
        self._count_forgotten(ended - self.tally.seconds / 2)
        self._close()
        return self.tally

    def _finished(self) -> bool:
        too_many = self.tally.errors.total() >= _MAX_ERRORS
        return too_many or self.tally.requests >= self._options.requests

    def _serve(self, client: Client) -> None:
        old = client.sock
        try:
            if client.on_readable():
                return
        except (OSError, BadAnswerError) as exc:
            self.tally.errors[f"{type(exc).__name__}: {exc}"] += 1
        self._selector.unregister(old)
        client.reconnect()
        self._selector.register(client.sock, selectors.EVENT_READ, client)

    def _count_forgotten(self, since: float) -> None:
        """Count the connections that had no answer in the second half of the run."""
        if forgotten := sum(client.asked_at < since for client in self._clients):
            self.tally.errors["no answer in half of the run, on a connection"] += forgotten

    def _close(self) -> None:
        self._selector.close()
        for client in self._clients:
            client.sock.close()


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Bounded HTTP load.")
    parser.add_argument("target", help="the server's UNIX socket, or its host:port")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--requests", type=int, default=1_000_000, help="never make more")
    parser.add_argument("--close", action="store_true", help="a connection for every request")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the load; the exit status is 1 when it could not be run at all."""
    try:
        tally = Load(_parse(arguments)).run()
    except OSError as exc:
        print(f"load: cannot connect: {exc}", file=sys.stderr)
        return 1
    print(tally.as_json())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
