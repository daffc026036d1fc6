"""What others notice: plain GETs, one after the other, while something else goes on."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import time
from typing import TYPE_CHECKING

from client import BadAnswerError, get_once
from servers import ServerFailedError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from client import Endpoint

_GET_TIMEOUT = 3.0
_GET_PAUSE = 0.002


class Probe:
    """Plain GETs from a process of their own, until told to stop."""

    def __init__(
        self, endpoint: Endpoint, timeout: float = _GET_TIMEOUT, pause: float = _GET_PAUSE
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_probe, args=(endpoint, theirs, timeout, pause), daemon=True
        )
        self._process.start()
        theirs.close()
        self._ours.recv()
        self._phases: list[tuple[float, str]] = []

    def phase(self, name: str) -> None:
        """Say what goes on from now."""
        self._phases.append((time.monotonic(), name))

    def stop(self) -> dict[str, list[float]]:
        """End it, and return what the GETs took, by phase.

        Raises:
            ServerFailedError: the process is gone.

        """
        self.phase("")
        try:
            self._ours.send(None)
            taken: list[tuple[float, float]] = self._ours.recv()
        except (EOFError, OSError) as exc:
            raise ServerFailedError("the process with the GETs is gone") from exc
        ends = [begun for begun, _ in self._phases[1:]]
        found: dict[str, list[float]] = {}
        for (begun, name), end in zip(self._phases, ends, strict=False):
            found.setdefault(name, []).extend(
                seconds for moment, seconds in taken if begun <= moment < end
            )
        return found

    def close(self) -> None:
        """End its process, if it has not been stopped."""
        self._ours.close()
        self._process.join()


def _probe(endpoint: Endpoint, pipe: Connection, timeout: float, pause: float) -> None:
    """Make GETs until something comes through ``pipe``, or its other end is gone."""
    taken: list[tuple[float, float]] = []
    pipe.send(None)
    while not pipe.poll(pause):
        begun = time.monotonic()
        try:
            get_once(endpoint, timeout)
        except (OSError, BadAnswerError):
            taken.append((begun, math.inf))
        else:
            taken.append((begun, time.monotonic() - begun))
    with contextlib.suppress(OSError):
        pipe.send(taken)
