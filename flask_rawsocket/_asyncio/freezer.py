"""`Freezer`: keeps the garbage collector's full collections short beside many connections.

A full collection looks at every object that is alive, and the process stands still for it: 250 ms
beside 10,000 connections of some forty objects each (CPython 3.11), again and again while they
come. What has been looked at once and lives on is set aside by ``gc.freeze()``, as its
documentation suggests for what a program keeps, so that the next one looks at new objects only.

What is set aside is freed when nothing refers to it, as ever; only what has become garbage in a
cycle since then is not found until it is taken back. That is done when as many connections have
ended as are there: so the process stands still for long once while all are replaced by others.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["Freezer"]

STEP: Final = 500
"""Connections after which what lives on is set aside; beside fewer a full collection is short."""


class Freezer:
    """Sets aside what lives on beside the connections of one event loop; called on its thread.

    An application that has called ``gc.freeze()`` or ``gc.disable()`` itself is left alone: it
    would find its own undone.
    """

    __slots__ = ("_ended", "_has_set_aside", "_is_left_alone", "_live", "_new")

    def __init__(self) -> None:
        self._live = 0
        """Connections that are being served."""
        self._new = 0
        """Those among them that have begun since something was set aside."""
        self._has_set_aside = False
        self._ended = 0
        """Connections that have ended since it has."""
        self._is_left_alone = False

    def begun(self, count: int) -> None:
        """So many connections more are served."""
        self._live += count
        self._new += count
        if self._new >= STEP and not self._is_left_alone:
            self._set_aside()

    def ended(self) -> None:
        """A connection less is served."""
        self._live -= 1
        if self._has_set_aside:
            self._ended += 1
            if self._ended >= self._live:
                self._take_back()
        else:
            self._new = min(self._new, self._live)

    def _set_aside(self) -> None:
        if not self._has_set_aside and _is_the_applications():
            self._is_left_alone = True
            return
        gc.collect()  # so that no garbage is set aside
        gc.freeze()
        self._has_set_aside = True
        self._new = 0

    def _take_back(self) -> None:
        """Have the collector look at everything again: with the next connection, or when it will.

        Not now: when all of many leave at once, there is less to look at soon.
        """
        gc.unfreeze()
        self._has_set_aside = False
        self._ended = 0
        self._new = self._live


def _is_the_applications() -> bool:
    """Tell whether the application, or this Python, has its own way with the collector."""
    return not (hasattr(gc, "freeze") and gc.isenabled()) or gc.get_freeze_count() > 0
