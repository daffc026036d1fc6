"""Thousands of hijacked connections as greenlets of one thread, on the gevent worker.

    python benchmarks/greenlets.py [--connections 5000] [--rounds 2]

Each connection is hijacked with ``101`` and served by a greenlet, which sends back what it reads:
that of its view, or one that the view has left it to. When all are there, every one of them is
written to and must answer, several times. Then all leave. Counted are the threads of the worker,
the connections in its map, and the memory for each.

Everything goes to 127.0.0.1, in bounded numbers. The exit status is 1 when something was not as it
should be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import selectors
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from client import warm_up
from greenlets_app import FACTS, LEAVES, PROTOCOL, STAYS
from servers import OURS, ServerFailedError, Setup, running
from tables import table

if TYPE_CHECKING:
    import socket

    from client import Endpoint
    from servers import Server

CONNECTIONS = 5000
_SPARE = 300
_TIMEOUT = 20.0
_PATIENCE = 60.0
_BACKLOG = 64
"""Connections that are opened before the first of them is answered."""


def _facts(endpoint: Endpoint) -> dict[str, int]:
    with endpoint.connect(_TIMEOUT) as sock:
        request = f"GET {FACTS} HTTP/1.1\r\nHost: benchmark\r\nConnection: close\r\n\r\n"
        sock.sendall(request.encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    found: dict[str, int] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


def _take(endpoint: Endpoint, path: str, count: int) -> list[socket.socket]:
    """Open `count` connections, and have each of them hijacked."""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: benchmark\r\nConnection: Upgrade\r\n"
        f"Upgrade: {PROTOCOL}\r\n\r\n"
    ).encode()
    socks: list[socket.socket] = []
    while len(socks) < count:
        batch = []
        for _ in range(min(_BACKLOG, count - len(socks))):
            batch.append(endpoint.connect(_TIMEOUT))
            batch[-1].sendall(request)
        for sock in batch:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                more = sock.recv(4096)
                if not more:
                    raise ServerFailedError("a connection has ended before its 101")
                head += more
            if not head.startswith(b"HTTP/1.1 101 "):
                raise ServerFailedError(head.decode("latin-1"))
        socks += batch
    return socks


def _echo_all(socks: list[socket.socket], text: bytes) -> float:
    """Write to all, and read all the answers; return the seconds."""
    begun = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            sock.sendall(text)
            selector.register(sock, selectors.EVENT_READ)
        missing = dict.fromkeys(socks, text)
        while missing:
            ready = selector.select(_TIMEOUT)
            if not ready:
                raise ServerFailedError(f"{len(missing)} connections have not answered")
            for key, _ in ready:
                sock = key.fileobj  # type: ignore[assignment]
                data = sock.recv(4096)
                if not data or not missing[sock].startswith(data):
                    raise ServerFailedError(f"another answer: {data!r}")
                missing[sock] = missing[sock][len(data) :]
                if not missing[sock]:
                    selector.unregister(sock)
                    del missing[sock]
    return time.monotonic() - begun


def _memory(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def _measure(server: Server, path: str, options: argparse.Namespace) -> list[str]:
    endpoint, pid = server.endpoint, server.worker_pid()
    warm_up(endpoint, 50)
    before = _facts(endpoint), _memory(pid)
    with contextlib.ExitStack() as stack:
        begun = time.monotonic()
        socks = _take(endpoint, path, options.connections)
        for sock in socks:
            stack.enter_context(sock)
        took = time.monotonic() - begun
        rounds = [_echo_all(socks, b"hello %d" % number) for number in range(options.rounds)]
        during, memory = _facts(endpoint), _memory(pid)
    deadline = time.monotonic() + _PATIENCE
    while (after := _facts(endpoint))["connections"] > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    if server.worker_pid() != pid or server.complaints():
        raise ServerFailedError(f"the worker has complained: {server.complaints()[:3]}")
    if (during["hijacked"], after["connections"]) != (options.connections, 1):
        raise ServerFailedError(f"the map is wrong: {during}, {after}")
    each = (memory - before[1]) / options.connections
    echoes = ", ".join(f"{seconds:.2f}" for seconds in rounds)
    row = [path.strip("/"), f"{during['hijacked']:,}", f"{took:.1f} s", f"{echoes} s"]
    return [*row, f"{during['threads']}", f"{each:,.0f} B", str(after["connections"] - 1)]


def main(arguments: list[str]) -> int:
    """Run both ways, and print a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, choices=range(1, 20_001), metavar="N")
    parser.add_argument("--rounds", type=int, choices=range(1, 11), default=2, metavar="N")
    parser.set_defaults(connections=CONNECTIONS)
    options = parser.parse_args(arguments)
    machine.leave_on_signals()
    machine.raise_descriptor_limit(options.connections + _SPARE)
    for what, value in machine.versions().items():
        print(f"{what}: {value}")
    rows, errors = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for path in (STAYS, LEAVES):
            # What its view has left to another greenlet takes no place of the worker's.
            most = options.connections + _SPARE if path == STAYS else _SPARE
            setup = Setup(OURS["gevent"], "greenlets_app:application()", connections=most)
            try:
                with running(setup, Path(name), machine.Cores.everywhere()) as server:
                    rows.append(_measure(server, path, options))
            except (ServerFailedError, OSError) as exc:
                errors.append(f"{path}: {exc}")
    head = ("the view", "hijacked at once", "until all are", "all echo", "threads")
    print("\n" + table([*head, "memory for each", "left"], rows))
    print(f"\nErrors: {len(errors) or 'none'}", *errors, sep="\n- ")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
