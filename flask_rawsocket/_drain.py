"""``flask rawsocket drain``: a server is asked to stop, and its connections are counted meanwhile.

What is counted are the connections that the server has accepted, not those that its applications
have made: those of the addresses at which its processes listen when it is asked. It is done from
outside, by what Linux shows of processes and sockets under ``/proc``.
"""

from __future__ import annotations

import os
import platform
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DrainError", "Drained", "drain", "read_pidfile"]

_TICK: Final = 0.1
"""Seconds between two looks."""

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"
_OPEN: Final = frozenset({"01", "08"})
"""ESTABLISHED and CLOSE_WAIT: whoever has said that it sends no more may still wait for a response
(include/net/tcp_states.h)."""
_ACCEPTS: Final = 0x10000
_CONNECTED: Final = "03"
"""Of UNIX sockets: SO_ACCEPTCON among the flags, and SS_CONNECTED (include/uapi/linux/net.h)."""


class DrainError(click.ClickException):
    """The server cannot be asked, or not be watched; the text is one sentence that says why."""


@dataclass(frozen=True)
class Drained:
    """What is left.

    Attributes:
        processes: how many processes of the server have not ended.
        connections: how many connections these have; None where that may not be seen.
    """

    processes: int
    connections: int | None

    def __str__(self) -> str:
        if not self.processes:
            return "All processes have ended."
        connections = "connections that may not be counted"
        if self.connections is not None:
            connections = _count(self.connections, "connection")
        return f"{connections} left in {_count(self.processes, 'process')}"


def _count(number: int, what: str) -> str:
    plural = what + ("es" if what.endswith("s") else "s")
    return f"{number} {what if number == 1 else plural}"


def read_pidfile(path: str) -> int:
    """Return the process id in the file at `path`.

    Raises:
        DrainError: it cannot be read, or contains none.
    """
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not a text"
        raise DrainError(f"{path} cannot be read: {reason}.") from exc
    if not text.isdecimal() or not int(text):
        raise DrainError(f"{path} does not contain a process id.")
    return int(text)


def drain(pid: int, timeout: float | None) -> Iterator[Drained]:
    """Ask the server whose first process is `pid` to stop; yield what is left as that changes.

    Args:
        pid: gunicorn's arbiter, or a server that is one process.
        timeout: the seconds after which to give up; None to wait until all have ended.

    Yields:
        What is left, first of all as it was asked; at the end, what is left then.

    Raises:
        DrainError: there is no such process, it may not be asked, or this is not Linux.
    """
    if platform.system() != "Linux":
        raise DrainError("flask rawsocket drain needs the /proc of Linux.")
    server = _Server(pid)
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError as exc:
        raise _no_such_process(pid) from exc
    except PermissionError as exc:
        raise DrainError(f"You are not permitted to stop the process {pid}.") from exc
    deadline = None if timeout is None else time.monotonic() + timeout
    last = None
    while True:
        left = server.look()
        if left != last:
            yield left
        last = left
        if not left.processes or (deadline is not None and time.monotonic() >= deadline):
            return
        time.sleep(_TICK)


def _no_such_process(pid: int) -> DrainError:
    return DrainError(f"There is no process {pid}.")


@dataclass
class _Server:
    """A process, those that it has begun, and where they listened at first."""

    pid: int
    begun: dict[int, str] = field(default_factory=dict)
    """The time at which each of the processes began, by its id: an id is used again."""

    def __post_init__(self) -> None:
        process = _process(self.pid)
        if process is None:
            raise _no_such_process(self.pid)
        self.begun[self.pid] = process[1]
        self._find_children()
        inodes = self._inodes() or set()
        self._ports = {
            local.rpartition(":")[2]
            for inode, state, local in _tcp_sockets(self.pid)
            if inode in inodes and state == _LISTENING
        }
        self._paths = {
            path
            for inode, flags, _, path in _unix_sockets(self.pid)
            if inode in inodes and flags & _ACCEPTS
        }

    def look(self) -> Drained:
        """Return what there is of it now."""
        self._find_children()
        self.begun = {
            pid: begun
            for pid, begun in self.begun.items()
            if (process := _process(pid)) is not None and process[1] == begun
        }
        inodes = self._inodes()
        if inodes is None or not self.begun:
            return Drained(len(self.begun), None if self.begun else 0)
        # Through one of its own processes: the command may be in another network namespace.
        pid = next(iter(self.begun))
        over_tcp = sum(
            inode in inodes and state in _OPEN and local.rpartition(":")[2] in self._ports
            for inode, state, local in _tcp_sockets(pid)
        )
        over_unix = sum(
            inode in inodes and state == _CONNECTED and path in self._paths
            for inode, _, state, path in _unix_sockets(pid)
        )
        return Drained(len(self.begun), over_tcp + over_unix)

    def _find_children(self) -> None:
        processes = {
            int(each.name): process
            for each in _PROC.iterdir()
            if each.name.isdecimal() and (process := _process(int(each.name))) is not None
        }
        found = True
        while found:  # as long as there are children of children
            children = [
                pid
                for pid, (parent, _) in processes.items()
                if pid not in self.begun and parent in self.begun
            ]
            self.begun |= {pid: processes[pid][1] for pid in children}
            found = bool(children)

    def _inodes(self) -> set[str] | None:
        """Return the inodes of all their sockets; None where that is not permitted."""
        found: set[str] = set()
        for pid in self.begun:
            try:
                for each in (_PROC / str(pid) / "fd").iterdir():
                    target = _target(each)
                    if target.startswith("socket:["):
                        found.add(target[len("socket:[") : -1])
            except PermissionError:
                return None
            except OSError:  # it has ended
                continue
        return found


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # it has been closed
        return ""


def _process(pid: int) -> tuple[int, str] | None:
    """Return the parent of a process, and when it began; None where it has ended."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # Behind the name, which may contain anything (proc_pid_stat(5)).
    state, parent, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else (int(parent), rest[17])


def _rows(pid: int, name: str) -> Iterator[list[str]]:
    try:
        text = (_PROC / str(pid) / "net" / name).read_text(encoding="utf-8", errors="replace")
    except OSError:  # the process has ended, or the kernel knows no IPv6
        return
    yield from (line.split(maxsplit=11) for line in text.splitlines()[1:])


def _tcp_sockets(pid: int) -> Iterator[tuple[str, str, str]]:
    """Yield the inode, the state and our address of each."""
    for name in ("tcp", "tcp6"):
        for row in _rows(pid, name):
            yield row[9], row[3], row[1]


def _unix_sockets(pid: int) -> Iterator[tuple[str, int, str, str]]:
    """Yield the inode, the flags, the state and the path of each that has one."""
    for row in _rows(pid, "unix"):
        if len(row) > 7:  # noqa: PLR2004  the columns before the path
            yield row[6], int(row[3], 16), row[5], " ".join(row[7:])
