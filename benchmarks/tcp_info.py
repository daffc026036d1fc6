"""What ``tcp_info()`` costs: one field of one connection, against the bare system call and others.

Everything is asked about the same loopback connection, in one run, in alternating rounds, so that
a slow moment of the machine meets all alike; the medians of the rounds are printed, and their
ratios to the bare ``getsockopt`` of 512 bytes. The budget of ``conn.tcp_info().rtt`` is 2.5 times
that; the connection is one that a listener of this package has accepted, as a view has it.

    python benchmarks/tcp_info.py [--rounds 21] [--enforce]

``tcpinfo``, ``pyroute2`` and ``psutil`` are measured where they are installed. None of them reads
one socket by its descriptor: ``tcpinfo`` lists every TCP connection of the machine, ``pyroute2``
asks the kernel for the connections of a pair of ports, and ``psutil`` lists those of the process
and knows their state only.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import platform
import socket
import statistics
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from flask_rawsocket import sockinfo
from flask_rawsocket._sockets.listener import Listener
from flask_rawsocket._tracking.tracker import process_tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask_rawsocket import Connection

BUDGET = 2.5
BARE = "bare getsockopt(512)"
OURS = "conn.tcp_info().rtt"
_INET_DIAG_INFO = 2


class Subject(NamedTuple):
    """Something to measure: how often it is called in a round goes by what it costs."""

    name: str
    call: Callable[[], object]
    calls: int


def subjects(sock: socket.socket, conn: Connection) -> list[Subject]:
    """Return what always can be measured: of the socket, and of the connection that it has."""
    tcp, option, ask = socket.IPPROTO_TCP, socket.TCP_INFO, sock.getsockopt
    snapshot = sockinfo.tcp_info(sock)
    get = sockinfo.tcp_info
    return [
        Subject("bare getsockopt(256)", lambda: ask(tcp, option, 256), 20_000),
        Subject(BARE, lambda: ask(tcp, option, 512), 20_000),
        Subject(OURS, lambda: conn.tcp_info().rtt, 20_000),
        Subject("sockinfo.tcp_info(sock).rtt", lambda: get(sock).rtt, 20_000),
        Subject("sockinfo.tcp_info(sock)", lambda: get(sock), 20_000),
        Subject("info.rtt, a field of a snapshot", lambda: snapshot.rtt, 20_000),
        Subject("info.as_dict(), all fields", snapshot.as_dict, 500),
        Subject("sockinfo.peer_status(sock)", lambda: sockinfo.peer_status(sock), 10_000),
    ]


def peers(sock: socket.socket, stack: ExitStack) -> Iterator[Subject | str]:
    """Yield a subject for every other package that is installed, or a sentence for one that is not.

    Args:
        sock: the measured connection.
        stack: closes what the packages opened.
    """
    ours, theirs = sock.getsockname()[1], sock.getpeername()[1]
    for name, make in (("tcpinfo", _tcpinfo), ("pyroute2", _pyroute2), ("psutil", _psutil)):
        try:
            importlib.import_module(name)
        except ImportError:
            yield f"{name} is not installed: not measured."
        else:
            yield make(ours, theirs, stack)


def _tcpinfo(ours: int, theirs: int, stack: ExitStack) -> Subject:
    package = importlib.import_module("tcpinfo")
    package.startUp()
    stack.callback(package.tearDown)

    def call() -> int | None:
        for flow in package.getTcpInfoList():
            if (flow["srcPort"], flow["dstPort"]) == (ours, theirs):
                return flow["rtt"]
        return None

    return Subject("tcpinfo.getTcpInfoList(), this one's rtt", call, 20)


def _pyroute2(ours: int, theirs: int, stack: ExitStack) -> Subject:
    package = importlib.import_module("pyroute2")
    diag = stack.enter_context(package.DiagSocket())
    diag.bind()

    def call() -> int:
        (stats,) = diag.get_sock_stats(
            family=socket.AF_INET, extensions=1 << _INET_DIAG_INFO - 1, sport=ours, dport=theirs
        )
        return stats.get_attr("INET_DIAG_INFO")["tcpi_rtt"]

    return Subject("pyroute2 DiagSocket, filtered, rtt", call, 20)


def _psutil(ours: int, theirs: int, _stack: ExitStack) -> Subject:
    process = importlib.import_module("psutil").Process()

    def call() -> str | None:
        for conn in process.net_connections("tcp4"):
            if conn.raddr and (conn.laddr.port, conn.raddr.port) == (ours, theirs):
                return conn.status
        return None

    return Subject("psutil net_connections(), state only", call, 20)


def measure(measured: list[Subject], rounds: int) -> dict[str, float]:
    """Return the median time of one call of each subject, in nanoseconds."""
    times: dict[str, list[float]] = {subject.name: [] for subject in measured}
    for _ in range(rounds):
        for subject in measured:
            call, calls = subject.call, range(subject.calls)
            begin = time.perf_counter_ns()
            for _ in calls:
                call()
            times[subject.name].append((time.perf_counter_ns() - begin) / subject.calls)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> int:
    """Measure and print; return 1 if ``--enforce`` was given and the budget is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--enforce", action="store_true", help="fail above the budget")
    options = parser.parse_args()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        sock = stack.enter_context(Listener(listener, process_tracker).accept()[0])
        client.sendall(b"x" * 1000)
        sock.recv(1000)
        measured = subjects(sock, sock.connection)
        for found in peers(sock, stack):
            if isinstance(found, Subject):
                measured.append(found)
                if found.call() is None:
                    print(f"{found.name}: this connection was not found.")
            else:
                print(found)
        gc.disable()
        medians = measure(measured, options.rounds)
    print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}, ", end="")
    print(f"medians of {options.rounds} alternating rounds:")
    for name, median in medians.items():
        print(f"  {name:<42} {median:>11,.0f} ns {median / medians[BARE]:>9.2f} x bare")
    ratio = medians[OURS] / medians[BARE]
    print(f"{OURS}: {ratio:.2f} times the bare call; the budget is {BUDGET}.")
    return int(options.enforce and ratio > BUDGET)


if __name__ == "__main__":
    sys.exit(main())
