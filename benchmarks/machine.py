"""What the benchmark asks of the machine: cores, descriptors, a process's memory and time."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import resource
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTLE_DEADLINE = 10.0
_SETTLE_INTERVAL = 0.1
_SETTLE_READINGS = 5
_PAGE_NOISE = 16 * 1024
_PACKAGES = ("gunicorn", "flask", "werkzeug", "flask-rawsocket")


def leave_on_signals() -> None:
    """Leave by SystemExit when this program is told to end, so that its servers are ended, too."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


@dataclass(frozen=True)
class Cores:
    """Which cores the server and the load may run on; empty sets mean "not pinned"."""

    server: frozenset[int]
    load: frozenset[int]

    @classmethod
    def split(cls) -> Cores:
        """Give the server the first core that we may use, and the load all the others."""
        if not hasattr(os, "sched_getaffinity"):
            return cls.everywhere()
        first, *others = sorted(os.sched_getaffinity(0))
        if not others:
            return cls.everywhere()
        return cls(frozenset({first}), frozenset(others))

    @classmethod
    def everywhere(cls) -> Cores:
        """Pin nothing, where time is not what is measured."""
        return cls(frozenset(), frozenset())

    def __str__(self) -> str:
        """Say it in one line of the report."""
        if not self.server:
            return "not pinned"
        return f"server on core {_listed(self.server)}, load on core {_listed(self.load)}"


def _listed(cores: frozenset[int]) -> str:
    return ",".join(map(str, sorted(cores)))


@contextlib.contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Run the block, and so every process started in it, on these cores."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_descriptor_limit(wanted: int) -> int:
    """Raise RLIMIT_NOFILE to ``wanted``, or as far as it goes; return what may be used."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= wanted:
        return wanted
    reachable = wanted if hard == unlimited else max(hard, wanted)
    for limits in ((wanted, hard if hard == unlimited else reachable), (hard, hard)):
        with contextlib.suppress(ValueError, OSError):  # not allowed: the next is more modest
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


@dataclass(frozen=True)
class Memory:
    """A process's memory in bytes, of /proc/<pid>/smaps_rollup."""

    rss: int
    pss: int

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Read it for ``pid``.

        Raises:
            OSError: the process is gone, or the system has no smaps_rollup.

        """
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        kib = {
            name: int(value.split()[0])
            for name, _, value in (line.partition(":") for line in text.splitlines()[1:])
        }
        return cls(rss=kib["Rss"] * 1024, pss=kib["Pss"] * 1024)

    @classmethod
    def settled(cls, pid: int) -> Memory:
        """Read it until it stands still, or until the deadline."""
        deadline = time.monotonic() + _SETTLE_DEADLINE
        readings = [cls.of(pid)]
        while time.monotonic() < deadline:
            time.sleep(_SETTLE_INTERVAL)
            readings.append(cls.of(pid))
            last = [reading.pss for reading in readings[-_SETTLE_READINGS:]]
            if len(last) == _SETTLE_READINGS and max(last) - min(last) <= _PAGE_NOISE:
                break
        return readings[-1]


def cpu_seconds(pid: int) -> float | None:
    """CPU time that ``pid`` has used, ended threads included; None where nobody can say.

    ``clock_getcpuclockid(3)`` counts nanoseconds; /proc/<pid>/stat counts hundredths.
    """
    clock = ctypes.c_int()
    try:
        refused = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    except AttributeError:  # not in this C library (macOS)
        return None
    return None if refused else time.clock_gettime(clock.value)


def children(pid: int) -> list[int]:
    """List the processes that ``pid``'s main thread started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]


def family(pid: int) -> list[int]:
    """List ``pid``, its children, and theirs."""
    found = [pid]
    for parent in found:  # which grows on the way
        for task in Path(f"/proc/{parent}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that has just ended
                found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def versions() -> dict[str, str]:
    """Say what was measured, and where."""
    cpu_count = os.cpu_count() or 1
    found = {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    found["python"] = f"{platform.python_implementation()} {platform.python_version()}"
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["wrk"] = _wrk_version()
    found["kernel"] = f"{platform.system()} {platform.release()} {platform.machine()}"
    found["cpus"] = f"{cpu_count} x {_cpu_model()}"
    found["load average"] = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    return found


def _wrk_version() -> str:
    try:
        run = subprocess.run(["wrk", "-v"], capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        return "not installed"
    return (run.stdout or run.stderr).split("Copyright")[0].removeprefix("wrk").strip()


def _cpu_model() -> str:
    with contextlib.suppress(OSError):  # no /proc: fall through to what Python knows
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
