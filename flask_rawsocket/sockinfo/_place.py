"""`Place`: where a system keeps an option of a socket, and in what form."""

from __future__ import annotations

import math
import sys
from struct import calcsize
from typing import NamedTuple

__all__ = ["Place", "milliseconds"]

_INT_MAX = (1 << 31) - 1


class Place(NamedTuple):
    """Where a system keeps an option, and in what form."""

    level: int
    number: int
    code: str = "i"
    """The C type, as a native code of ``struct``; a capital letter is unsigned."""
    per_second: int = 1
    """For a time: how many of the kernel's units make a second."""
    none: int | None = None
    """The number that means "not set"; -1 is all bits set, whatever the width."""
    smallest: int = 0
    largest: int | None = None
    """The bounds that the kernel enforces; None: what the C type holds."""

    def unpack(self, raw: bytes) -> int | None:
        """Return the number in an answer of any length; None if it means "not set".

        The width is that of the answer: an old or 32-bit kernel returns 4 bytes for a 64-bit rate,
        Windows 1 byte for a boolean.
        """
        number = int.from_bytes(raw, sys.byteorder, signed=self.code.islower())
        if self.none is not None and not (number - self.none) % (1 << 8 * len(raw)):
            return None
        return number

    def pack(self, number: int | None, operation: str) -> bytes:
        """Return the bytes to set.

        Args:
            number: in the kernel's unit; None means "not set".
            operation: the option's name, for the text of an error.

        Raises:
            TypeError: the number is None, but the option is always set.
            ValueError: the number is too small or too large for this option.
        """
        width = calcsize(self.code)
        if number is None:
            if self.none is None:
                raise TypeError(f"{operation} cannot be None: it is always set")
            return (self.none % (1 << 8 * width)).to_bytes(width, sys.byteorder)
        largest = self.largest
        if largest is None:
            largest = (1 << (8 * width - self.code.islower())) - 1
        if not self.smallest <= number <= largest:
            raise ValueError(f"{operation}: {number} is not between {self.smallest} and {largest}")
        return number.to_bytes(width, sys.byteorder)


def milliseconds(seconds: float, operation: str) -> int:
    """Return a time in whole milliseconds, rounded up so that a timeout never becomes "none".

    Raises:
        TypeError: the time is not a number.
        ValueError: the time is not a positive finite number, or is too long for a C ``int``.
    """
    try:
        sane = 0 < seconds < math.inf
    except TypeError as exc:
        raise TypeError(f"{operation}: {seconds!r} is not a number of seconds") from exc
    # The bound is checked last, as rounding up may exceed it.
    whole = max(1, math.ceil(round(seconds * 1000, 6))) if sane else 0
    if not 0 < whole <= _INT_MAX:
        raise ValueError(f"{operation}: {seconds!r} is not a positive time below 24.8 days")
    return whole
