"""`Complaints`: how often the log says that something cannot be had."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["COMPLAINT_PAUSE", "Complaints"]

COMPLAINT_PAUSE: Final = 10.0
"""Seconds between two lines in the log that say the same."""


class Complaints:
    """Knows when something was last complained about."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self) -> bool:
        """Tell whether to complain now; then not again for `COMPLAINT_PAUSE` seconds."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + COMPLAINT_PAUSE
        return True
