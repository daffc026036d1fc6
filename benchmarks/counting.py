"""Counts what a request costs: instructions, system calls, Python calls.

Each count is the difference between two runs that differ in the number of their requests
alone, so that what starting, idling and stopping cost cancels out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import machine
import python_calls
from client import LAST_REQUEST, BadAnswerError, exchange
from servers import ServerFailedError, running

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from client import Endpoint
    from servers import Setup

FIRST = 300
MORE = 1000
_VALGRIND_PATIENCE = 30.0
_TIMEOUT = 60.0
_TOOL_DEADLINE = 20.0
_SUMMARY = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)
_STRACE_ROW = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? +(\w+)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """A server's setup, and what the requests to it are like."""

    setup: Setup
    close: bool
    directory: Path
    first: int = FIRST
    more: int = MORE

    def load(self, endpoint: Endpoint, requests: int) -> None:
        """Make ``requests`` requests one after the other."""
        if self.close:
            for _ in range(requests):
                _get_and_close(endpoint)
        else:
            _get_in_turn(endpoint, requests)

    def under(self, **changes: object) -> Run:
        """Return the same with another setup."""
        return dataclasses.replace(self, setup=dataclasses.replace(self.setup, **changes))

    def difference(self, count: Callable[[int], Counter[str]]) -> Counter[str]:
        """Count both runs and return what the additional requests cost in all."""
        few, many = count(self.first), count(self.first + self.more)
        many.subtract(few)
        return many


def _get_in_turn(endpoint: Endpoint, requests: int) -> None:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(endpoint.connect(_TIMEOUT)) for _ in range(2)]
        for number in range(requests):
            head = exchange(socks[number % 2])
            if b"\r\nconnection: close" in head.lower():
                raise BadAnswerError("the server closes a connection that it should keep")


def _get_and_close(endpoint: Endpoint) -> None:
    with endpoint.connect(_TIMEOUT) as sock:
        exchange(sock, LAST_REQUEST)
        _expect_end(sock)


def _expect_end(sock: socket.socket) -> None:
    if sock.recv(1):
        raise BadAnswerError("bytes that nobody asked for, behind an answer")


class Missing(Exception):  # noqa: N818  # a tool that is not there is no error
    """A tool that is needed for a count is not installed."""


def _need(tool: str, what: str) -> str:
    if not (path := shutil.which(tool)):
        raise Missing(f"{tool} is not installed (apt-get install {tool}): no {what} are counted.")
    return path


def instructions(run: Run) -> Counter[str]:
    """Count the instructions that the worker executes, by callgrind.

    Raises:
        Missing: there is no valgrind.
        ServerFailedError, BadAnswerError, OSError: the server cannot be measured.

    """
    valgrind = _need("valgrind", "instructions")
    marked = f"callgrind-{time.monotonic_ns()}"

    def count(requests: int) -> Counter[str]:
        pattern = run.directory / f"{marked}-{requests}"
        prefix = [valgrind, "--quiet", "--tool=callgrind", "--trace-children=yes"]
        prefix.append(f"--callgrind-out-file={pattern}.%p")
        seeded = (*run.setup.environment, ("PYTHONHASHSEED", "0"))
        slow = run.under(
            prefix=tuple(prefix),
            environment=seeded,
            patience=_VALGRIND_PATIENCE,
            keepalive=round(_TIMEOUT),
        )
        with running(slow.setup, run.directory, machine.Cores.everywhere()) as server:
            pid = server.worker_pid()
            run.load(server.endpoint, requests)
        return Counter(instructions=_callgrind_total(Path(f"{pattern}.{pid}")))

    return run.difference(count)


def _callgrind_total(path: Path) -> int:
    try:
        found = _SUMMARY.findall(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError as exc:
        raise ServerFailedError("callgrind has written nothing for the worker") from exc
    if not found:
        raise ServerFailedError("callgrind's file has no total")
    return int(found[-1])


def system_calls(run: Run) -> Counter[str]:
    """Count the system calls of the worker's threads, by name.

    Raises:
        Missing: there is no strace.
        ServerFailedError, BadAnswerError, OSError: the server cannot be measured.

    """
    strace = _need("strace", "system calls")
    with running(run.setup, run.directory, machine.Cores.everywhere()) as server:
        run.load(server.endpoint, 10)  # so that the pool has its threads
        pid = server.worker_pid()

        def count(requests: int) -> Counter[str]:
            report = run.directory / f"strace-{time.monotonic_ns()}"
            with _traced([strace, "-f", "-c", "-o", str(report), "-p", str(pid)]):
                run.load(server.endpoint, requests)
            text = report.read_text(encoding="ascii")
            return Counter({name: int(calls) for calls, name in _STRACE_ROW.findall(text)})

        found = run.difference(count)
    found.pop("total", None)
    return found


@contextlib.contextmanager
def _traced(command: list[str]) -> Iterator[None]:
    """Have strace attached while the block runs; it reports when it is interrupted."""
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        said = tracer.stderr.readline()
        if "attached" not in said:
            raise ServerFailedError(f"strace could not attach: {said.strip()}")
        yield
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=_TOOL_DEADLINE)
    finally:
        if tracer.poll() is None:
            tracer.kill()
        tracer.communicate()


def function_calls(run: Run) -> Counter[str]:
    """Count the worker's Python calls, by function.

    Raises:
        ServerFailedError, BadAnswerError, OSError: the server cannot be measured.

    """

    def count(requests: int) -> Counter[str]:
        report = run.directory / f"calls-{time.monotonic_ns()}"
        told = (*run.setup.environment, (python_calls.FILE, str(report)))
        counting = run.under(config=python_calls.__file__, environment=told)
        with running(counting.setup, run.directory, machine.Cores.everywhere()) as server:
            run.load(server.endpoint, requests)
        return Counter(json.loads(report.read_text(encoding="utf-8")))

    return run.difference(count)


def rehearse(run: Run) -> None:
    """Serve a few requests without any tool: whatever has to be compiled is compiled then.

    Raises:
        ServerFailedError, BadAnswerError, OSError: the server does not work.

    """
    with running(run.setup, run.directory, machine.Cores.everywhere()) as server:
        run.load(server.endpoint, 4)


def package_path(checkout: Path | None, directory: Path) -> Path:
    """Say where a server that is told of ``checkout`` has the package from; it is compiled then.

    Raises:
        ServerFailedError: it cannot be imported.

    """
    path = {} if checkout is None else {"PYTHONPATH": str(checkout)}
    found = subprocess.run(
        [sys.executable, "-c", "import flask_rawsocket.workers as w; print(w.__path__[0])"],
        env=os.environ | path,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=_TOOL_DEADLINE,
        check=False,
    )
    if found.returncode:
        raise ServerFailedError(f"the package cannot be imported: {found.stderr.strip()}")
    return Path(found.stdout.strip())


def tools() -> dict[str, str]:
    """Say which versions of the two programs are installed."""
    return {tool: _version(tool) for tool in ("valgrind", "strace")}


def _version(tool: str) -> str:
    try:
        run = subprocess.run(
            [tool, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except FileNotFoundError:
        return "not installed"
    return run.stdout.partition("\n")[0].strip()
