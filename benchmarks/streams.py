"""Event streams and WebSockets by the thousand on one worker with four threads.

    python benchmarks/streams.py [--connections 10000] [--quick]

All of them stay open. Meanwhile plain GETs are made, one after the other, and then messages are
sent to all. What a broadcast costs is measured on the event loop of the server, beside bare writes
of the same bytes to the same transports. One hears messages beside one that reads nothing. Memory
is the growth of the worker's PSS, divided by the number of streams; the kernel's socket buffers are
not in it.

Beside that, what holds a thread for each client on plain gthread: a generator that waits for a
queue, as flask-sse's waits for Redis, and Flask-Sock. They get four threads and four clients, and
then a thread for each of fewer clients.

Everything goes to 127.0.0.1, and stops by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from client import BadAnswerError, get_once
from servers import OURS, PLAIN, THREADS, Server, Setup, running
from streams_app import SAID

if TYPE_CHECKING:
    from client import Endpoint

CONNECTIONS = 10_000
QUICK = 1000
ROUNDS = 5
GETS = 200
THREAD_EACH = 500
"""How many clients get a thread each, where they need one."""

_WHOLE = 300
_PATIENCE = 3.0
_SAYINGS = 2000
_AT_ONCE = 200
_SPARE = 300

HOLD_A_THREAD = (
    ("flask-sse-like events", "streams_app:with_a_queue()", b"/events"),
    ("Flask-Sock", "websocket_app:flask_sock()", b"/echo"),
)

EVENTS = b"GET /events HTTP/1.1\r\nHost: bench\r\n\r\n"
PING = b"\x89\0"
RESTART = (1012).to_bytes(2, "big")
_LAST_WORDS = 64

WEBSOCKET = (
    b"GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Reader(asyncio.Protocol):
    """A client that reads, and counts what it has read."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.count = 0
        self.first = asyncio.get_running_loop().create_future()
        self.status = b""
        self.ended = asyncio.get_running_loop().create_future()
        self.tail = b""
        """The end of what has come: the last words."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self.transport = transport
        transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Count."""
        self.count += len(data)
        self.tail = (self.tail + data)[-_LAST_WORDS:]
        if PING in data:  # who does not answer is dropped
            self.transport.write(b"\x8a\x80\0\0\0\0")  # type: ignore[attr-defined]
        if RESTART in self.tail:  # answered as RFC 6455, section 5.5.1, has it
            self.transport.write(b"\x88\x82\0\0\0\0" + RESTART)  # type: ignore[attr-defined]
        if not self.first.done():
            self.status = data.split(b" ", 2)[1]
            self.first.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so."""
        if not self.ended.done():
            self.ended.set_result(exc)


async def open_all(endpoint: Endpoint, request: bytes, count: int) -> list[Reader]:
    """Open so many, a few hundred at a time."""
    loop, readers = asyncio.get_running_loop(), []
    for begin in range(0, count, _AT_ONCE):
        batch = [
            loop.create_connection(lambda: Reader(request), endpoint.host, endpoint.port)
            for _ in range(min(_AT_ONCE, count - begin))
        ]
        new = [protocol for _, protocol in await asyncio.gather(*batch)]
        await asyncio.gather(*(each.first for each in new))
        readers += new
    return readers


def gets(endpoint: Endpoint) -> list[float]:
    """Return what plain GETs take, each on a new connection, in seconds."""
    taken = []
    for _ in range(GETS):
        began = time.perf_counter()
        get_once(endpoint, timeout=5)
        taken.append(time.perf_counter() - began)
    return taken


async def fetch(endpoint: Endpoint, path: str) -> dict[str, float]:
    """Return the JSON at ``path``."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
    body = (await reader.read()).split(b"\r\n\r\n", 1)[1]
    writer.close()
    if not body.startswith(b"{"):
        raise RuntimeError(body.decode())
    found: dict[str, float] = json.loads(body)
    return found


async def measure(name: str, request: bytes, count: int, server: Server) -> bool:
    """Measure one kind, and print it; tell whether all was as it should be."""
    endpoint, pid = server.endpoint, server.worker_pid()
    for each in await open_all(endpoint, request, 20):
        each.transport.close()
    without = await asyncio.to_thread(gets, endpoint)
    await fetch(endpoint, "/members")
    before = machine.Memory.settled(pid).pss
    readers = await open_all(endpoint, request, count)
    memory = (machine.Memory.settled(pid).pss - before) / count
    beside = statistics.median(await asyncio.to_thread(gets, endpoint))
    rounds = []
    for _ in range(ROUNDS):
        rounds.append(await fetch(endpoint, "/broadcast"))
        await asyncio.sleep(0.5)
    bare = statistics.median(each["bare"] for each in rounds)
    group = statistics.median(each["group"] for each in rounds)
    whole = await _all_heard_all(readers)
    for each in readers:
        each.transport.close()
    while (await fetch(endpoint, "/members"))["members"]:  # noqa: ASYNC110  of another process
        await asyncio.sleep(0.1)
    without += await asyncio.to_thread(gets, endpoint)
    alone = statistics.median(without)
    print(
        f"{name}: {count} open, {memory / 1024:.1f} KiB each; a GET {alone * 1000:.2f} ms alone, "
        f"{beside * 1000:.2f} ms beside ({beside / alone:.2f}x); a broadcast "
        f"{group * 1000:.0f} ms, bare writes {bare * 1000:.0f} ms ({group / bare:.2f}x); "
        f"all heard all: {whole}"
    )
    return whole


async def _all_heard_all(readers: list[Reader]) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        counts = {each.count for each in readers}
        if max(counts) - min(counts) < 100:  # noqa: PLR2004  the ids' digits, and heads
            return True
        await asyncio.sleep(0.1)  # what was sent last is on its way
    return False


async def stall(name: str, request: bytes, server: Server) -> bool:
    """Print how soon one hears what is said, alone and beside one that reads nothing."""
    (reader,) = await open_all(server.endpoint, request, 1)

    async def say() -> tuple[float, float]:
        begun, expected = time.perf_counter(), reader.count + SAID
        members = (await fetch(server.endpoint, "/say"))["members"]
        while reader.count < expected:  # noqa: ASYNC110  it is to be seen at once
            await asyncio.sleep(0)
        return time.perf_counter() - begun, members

    without = [(await say())[0] for _ in range(GETS)]
    (stalled,) = await open_all(server.endpoint, request, 1)
    stalled.transport.pause_reading()  # type: ignore[attr-defined]
    taken, members = [], 2.0
    while members > 1 and len(taken) < _SAYINGS:
        seconds, members = await say()
        taken.append(seconds)
    stalled.transport.close()
    without += [(await say())[0] for _ in range(GETS)]
    reader.transport.close()
    alone, beside = statistics.median(without), statistics.median(taken)
    print(
        f"{name}: one hears {SAID} bytes after {alone * 1000:.2f} ms, beside one that reads "
        f"nothing after {beside * 1000:.2f} ms ({beside / alone:.2f}x), which was "
        + (f"dropped after {len(taken)}" if members == 1 else "not dropped")
    )
    return members == 1


async def stop(name: str, request: bytes, count: int, server: Server) -> bool:
    """Stop the server while they are open; tell whether all were told."""
    readers = await open_all(server.endpoint, request, count)
    began = time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    await asyncio.wait([each.ended for each in readers], timeout=30)
    taken = time.perf_counter() - began
    last = RESTART if request is WEBSOCKET else b"0\r\n\r\n"
    told = sum(last in each.tail and each.ended.done() for each in readers)
    print(f"{name}: at a stop {told} of {count} were told, and had ended in {taken:.1f} s")
    return told == count


async def run(count: int) -> bool:
    """Measure event streams and WebSockets, each on a server of its own."""
    done = True
    with tempfile.TemporaryDirectory() as directory:
        cores = machine.Cores.split()
        for name, request in (("event streams", EVENTS), ("WebSockets", WEBSOCKET)):
            setup = Setup(
                OURS["thread"],
                "streams_app:streaming()",
                connections=count + _SPARE,
                patience=10,  # by which the graceful timeout is 10 s
            )
            with running(setup, Path(directory), cores) as server:
                done &= await stop(name, request, count // 2, server)
            with running(setup, Path(directory), cores) as server:
                try:
                    done &= await stall(name, request, server)
                    done &= await measure(name, request, count, server)
                except RuntimeError as exc:
                    raise server.failed(str(exc)) from exc
        await hold_threads(Path(directory), cores)
    return done


async def hold_threads(directory: Path, cores: machine.Cores) -> None:
    """Print how far plain gthread reaches, where each client holds a thread."""
    for name, app, path in HOLD_A_THREAD:
        if "flask_sock" in app and importlib.util.find_spec("flask_sock") is None:
            print(f"{name} is not installed: not measured")
            continue
        request = EVENTS if path == b"/events" else WEBSOCKET.replace(b"/ws", path, 1)
        for count, threads in ((THREADS, THREADS), (THREAD_EACH, THREAD_EACH + 2)):
            setup = Setup(PLAIN["thread"], app, connections=count + _SPARE, threads=threads)
            with running(setup, directory, cores) as server:
                alone = statistics.median(await asyncio.to_thread(gets, server.endpoint))
                before = machine.Memory.settled(server.worker_pid()).pss
                readers = await open_all(server.endpoint, request, count)
                memory = (machine.Memory.settled(server.worker_pid()).pss - before) / count
                beside = await asyncio.to_thread(_beside, server.endpoint, alone)
                for each in readers:
                    each.transport.close()
            print(
                f"{name} on gthread with {threads} threads: {count} open, "
                f"{memory / 1024:.1f} KiB each; a GET {alone * 1000:.2f} ms alone, {beside}"
            )


def _beside(endpoint: Endpoint, alone: float) -> str:
    try:
        get_once(endpoint, timeout=_PATIENCE)
    except (OSError, BadAnswerError):
        return f"beside them no answer in {_PATIENCE:g} s"
    taken = statistics.median(gets(endpoint))
    return f"{taken * 1000:.2f} ms beside ({taken / alone:.2f}x)"


def main() -> int:
    """Run it, within limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    count = QUICK if options.quick else options.connections
    machine.raise_descriptor_limit(count + _SPARE)
    return not asyncio.run(asyncio.wait_for(run(count), _WHOLE))


if __name__ == "__main__":
    sys.exit(main())
