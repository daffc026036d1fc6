"""What an idle kept-alive connection costs the worker process, in bytes.

The worker is warmed up, its memory is read, the connections are opened - one answered
request each, then silence - and its memory is read again once it stands still.
"""

from __future__ import annotations

import contextlib
import select
from dataclasses import dataclass
from typing import TYPE_CHECKING

import machine
from client import BadAnswerError, exchange, warm_up
from servers import running

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from client import Endpoint
    from scenarios import Bench, IdleMemory
    from servers import Server, Setup

_KEEPALIVE = 600
_SPARE_CONNECTIONS = 200
_SPARE_DESCRIPTORS = 300
_TIMEOUT = 10.0


@dataclass(frozen=True)
class MemorySample:
    """The growth of one worker, for each connection."""

    connections: int
    rss: float
    pss: float
    errors: tuple[str, ...] = ()


def measure(
    scenario: IdleMemory,
    bench: Bench,
    progress: Callable[[str], None],
) -> dict[str, list[MemorySample]]:
    """Run both sides in turn.

    Raises:
        ServerFailedError, BadAnswerError, OSError: a side cannot be measured.

    """
    count = _affordable(bench.effort.idle_connections, progress)
    setups = bench.setups(
        "thread",
        unix=scenario.unix,
        keepalive=_KEEPALIVE,
        connections=count + _SPARE_CONNECTIONS,
    )
    samples: dict[str, list[MemorySample]] = {side: [] for side in setups}
    for number in range(1, bench.effort.memory_rounds + 1):
        for side, setup in setups.items():
            sample = _run(setup, bench, count)
            samples[side].append(sample)
            progress(f"round {number} {side}: {sample.pss:.0f} bytes for each connection")
    return samples


def _affordable(wanted: int, progress: Callable[[str], None]) -> int:
    """Return how many connections the descriptor limit allows, and say when it is fewer."""
    allowed = machine.raise_descriptor_limit(wanted + _SPARE_DESCRIPTORS) - _SPARE_DESCRIPTORS
    if allowed >= wanted:
        return wanted
    if allowed <= 0:
        raise OSError("RLIMIT_NOFILE is too low for any idle connection, and cannot be raised")
    progress(f"RLIMIT_NOFILE cannot be raised: {allowed} connections instead of {wanted}")
    return allowed


def _run(setup: Setup, bench: Bench, count: int) -> MemorySample:
    with running(setup, bench.directory, bench.cores) as server, contextlib.ExitStack() as stack:
        warm_up(server.endpoint, bench.effort.warm_up_requests)
        pid = server.worker_pid()
        before = machine.Memory.settled(pid)
        idle = [_idle_connection(server.endpoint, stack) for _ in range(count)]
        after = machine.Memory.settled(pid)
        errors = _errors(server, idle)
    return MemorySample(
        connections=count,
        rss=(after.rss - before.rss) / count,
        pss=(after.pss - before.pss) / count,
        errors=tuple(errors),
    )


def _idle_connection(endpoint: Endpoint, stack: contextlib.ExitStack) -> socket.socket:
    sock = stack.enter_context(endpoint.connect(_TIMEOUT))
    head = exchange(sock)
    if b"\r\nconnection: close" in head.lower():
        raise BadAnswerError("the server closes the connections that should stay idle")
    return sock


def _errors(server: Server, idle: list[socket.socket]) -> list[str]:
    """Say whether an "idle" connection was closed or written to, and what the log says."""
    poller = select.poll()
    for sock in idle:
        poller.register(sock, select.POLLIN)
    errors = [f"gunicorn: {line}" for line in server.complaints()]
    if stirred := len(poller.poll(0)):
        errors.append(f"{stirred} of {len(idle)} idle connections did not stay open and silent")
    return errors
