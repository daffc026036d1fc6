"""Clients that join and leave, a hundred at a time: what a worker keeps of them.

    python benchmarks/churn.py [--joins 100000] [--quick]

Each connects, asks for a stream of events or a WebSocket of a group, reads the head of the response
and resets the connection. Then the worker is to have no more members, no more descriptors, and no
more memory than after the first tenth of them.

Everything goes to 127.0.0.1, and stops by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from servers import OURS, Server, Setup, running
from streams import EVENTS, WEBSOCKET, Reader, fetch

if TYPE_CHECKING:
    from client import Endpoint

JOINS = 100_000
QUICK = 5000
_AT_ONCE = 100
_WHOLE = 300
_MORE_MEMORY = 2 * 2**20
"""The bytes by which an allocator's own holdings may have grown."""


async def join_and_leave(endpoint: Endpoint, request: bytes, count: int) -> None:
    """Join and leave so often."""
    loop = asyncio.get_running_loop()
    for begin in range(0, count, _AT_ONCE):
        batch = [
            loop.create_connection(lambda: Reader(request), endpoint.host, endpoint.port)
            for _ in range(min(_AT_ONCE, count - begin))
        ]
        readers = [protocol for _, protocol in await asyncio.gather(*batch)]
        await asyncio.gather(*(each.first for each in readers))
        for each in readers:
            _reset_at_close(each.transport)
            each.transport.abort()


def _reset_at_close(transport: asyncio.BaseTransport) -> None:
    """Have it leave no TIME_WAIT: there are fewer ports than joins."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def settled(server: Server) -> tuple[float, int, int]:
    """Return the members, the descriptors and the memory, once all members have left."""
    deadline = time.monotonic() + 20
    while (members := (await fetch(server.endpoint, "/members"))["members"]) > 0:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    pid = server.worker_pid()
    return members, _descriptors(pid), machine.Memory.settled(pid).pss


async def measure(name: str, request: bytes, count: int, server: Server) -> bool:
    """Measure one kind, and print it; tell whether nothing was left."""
    await join_and_leave(server.endpoint, request, count // 10)
    before = await settled(server)
    began = time.perf_counter()
    await join_and_leave(server.endpoint, request, count - count // 10)
    taken = time.perf_counter() - began
    after = await settled(server)
    print(
        f"{name}: {count} joins and leaves, {(count - count // 10) / taken:.0f} a second; "
        f"members {before[0]:.0f} and {after[0]:.0f}, descriptors {before[1]} and {after[1]}, "
        f"memory {before[2] / 2**20:.1f} and {after[2] / 2**20:.1f} MiB"
    )
    return after[0] == 0 and after[1] <= before[1] and after[2] - before[2] < _MORE_MEMORY


async def run(count: int) -> bool:
    """Measure event streams and WebSockets, half of the joins each."""
    done = True
    with tempfile.TemporaryDirectory() as directory:
        cores = machine.Cores.split()
        for name, request in (("event streams", EVENTS), ("WebSockets", WEBSOCKET)):
            setup = Setup(OURS["thread"], "streams_app:streaming()", connections=1000, patience=10)
            with running(setup, Path(directory), cores) as server:
                done &= await measure(name, request, count // 2, server)
    return done


def main() -> int:
    """Run it, within limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--joins", type=int, default=JOINS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    count = QUICK if options.quick else options.joins
    return not asyncio.run(asyncio.wait_for(run(count), _WHOLE))


if __name__ == "__main__":
    sys.exit(main())
