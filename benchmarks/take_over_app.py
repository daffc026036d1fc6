"""The application of ``take_over.py``: a plain view, and one whose connection the loop gets.

Beside them a view that says what only the worker knows: the pauses of the garbage collector, and
which thread the event loop runs in.
"""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING

import app as apps

from flask_rawsocket import current_conn

if TYPE_CHECKING:
    import asyncio

    from flask import Flask

TAKE = "/take"
FACTS = "/facts"
PROTOCOL = "idle"
_LOOP_THREAD = "rawsocket-asyncio"


def application() -> Flask:
    """Make the application of ``app.py`` with two more views."""
    app = apps.with_rawsocket()
    pauses = _Pauses()
    gc.callbacks.append(pauses)

    @app.get(TAKE)
    def take() -> str:
        current_conn.hijack_async(_idle, protocol=PROTOCOL)
        return ""

    @app.get(FACTS)
    def facts() -> dict[str, object]:
        """Say it, and begin to count anew."""
        loops = [each for each in threading.enumerate() if each.name == _LOOP_THREAD]
        said = {
            "loop": [each.native_id for each in loops],
            "full": len(pauses.full),
            "full_worst": max(pauses.full, default=0.0),
            "full_all": sum(pauses.full),
            "other_worst": max(pauses.other, default=0.0),
            "other_all": sum(pauses.other),
            "frozen": gc.get_freeze_count(),
        }
        pauses.clear()
        return said

    return app


async def _idle(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Wait for the peer to leave."""
    while await reader.read(4096):
        pass


class _Pauses:
    """How long each collection of garbage took, in seconds."""

    def __init__(self) -> None:
        self.full: list[float] = []
        """Those of the oldest generation."""
        self.other: list[float] = []
        self._begun = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._begun = time.perf_counter()
            return
        taken = time.perf_counter() - self._begun
        (self.full if info["generation"] == 2 else self.other).append(taken)  # noqa: PLR2004

    def clear(self) -> None:
        self.full.clear()
        self.other.clear()
