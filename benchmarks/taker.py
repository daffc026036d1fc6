"""Clients whose connections are taken over: a process of their own, which holds them all."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from typing import TYPE_CHECKING

import machine
from servers import ServerFailedError
from take_over_app import PROTOCOL, TAKE

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from types import TracebackType
    from typing import Self

    from client import Endpoint

_REQUEST = (
    f"GET {TAKE} HTTP/1.1\r\nHost: benchmark\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n"
).encode()
_SWITCHING = b"HTTP/1.1 101 "
_TIMEOUT = 15.0
_SPARE = 300


class Taker:
    """Has connections taken over, a bounded number of them at a time, and holds them.

    Args:
        endpoint: where the server is.
        at_once: how many wait for their ``101`` at once; each has a thread.
    """

    def __init__(self, endpoint: Endpoint, at_once: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(endpoint, at_once, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Have all of them leave at once: the process ends."""
        self._ours.close()
        self._process.join()

    def take(self, count: int) -> tuple[int, list[str]]:
        """Have so many taken over; return how many were, and what went wrong.

        Raises:
            ServerFailedError: the process is gone.

        """
        self._ours.send(count)
        taken: tuple[int, list[str]] = self._receive()
        return taken

    def _receive(self) -> tuple[int, list[str]]:
        try:
            received: tuple[int, list[str]] = self._ours.recv()
        except (EOFError, OSError) as exc:
            raise ServerFailedError("the process with the clients is gone") from exc
        return received


def _main(endpoint: Endpoint, at_once: int, pipe: Connection) -> None:
    clients = _Clients(endpoint)
    pipe.send((0, []))
    with contextlib.suppress(EOFError):
        while True:
            count = pipe.recv()
            machine.raise_descriptor_limit(len(clients.socks) + count + _SPARE)
            pipe.send(clients.take(count, at_once))


class _Clients:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.socks: list[socket.socket] = []
        self._errors: list[str] = []

    def take(self, count: int, at_once: int) -> tuple[int, list[str]]:
        """Have ``count`` connections taken over, ``at_once`` of them at a time."""
        before = len(self.socks)
        numbers = iter(range(count))  # next() of it is one step under the interpreter's lock
        threads = [threading.Thread(target=self._work, args=[numbers]) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kinds = dict.fromkeys(self._errors)
        return len(self.socks) - before, [f"{self._errors.count(kind)} x {kind}" for kind in kinds]

    def _work(self, numbers: Iterator[int]) -> None:
        for _ in numbers:
            try:
                self.socks.append(self._taken_over())
            except OSError as exc:
                self._errors.append(f"{type(exc).__name__}: {exc}")
                return  # so that a server that is gone is not asked ten thousand times

    def _taken_over(self) -> socket.socket:
        sock = self._endpoint.connect(_TIMEOUT)
        try:
            _upgrade(sock)
        except BaseException:
            sock.close()
            raise
        return sock


def _upgrade(sock: socket.socket) -> None:
    """Ask for the upgrade, and wait for its ``101``."""
    sock.sendall(_REQUEST)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += (more := sock.recv(4096))
        if not more:
            raise ConnectionError(f"the connection ended after {answer!r}")
    if not answer.startswith(_SWITCHING):
        raise ConnectionError(answer.partition(b"\r\n")[0].decode("latin-1"))
