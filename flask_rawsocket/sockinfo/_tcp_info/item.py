"""`Item`: where in the bytes of one system's answer a field is, and how to read it."""

from __future__ import annotations

from struct import calcsize
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MICRO", "MILLI", "Item", "bits", "none_if"]

MILLI = 1_000
MICRO = 1_000_000
"""Divisors that make seconds. Division, unlike multiplication by 1e-6, results in the float nearest
to the decimal number: 42 us is exactly ``0.000042``."""


class Item(NamedTuple):
    """The place of one field and how to read it."""

    offset: int
    code: str
    """A character of the ``struct`` module."""
    how: int | Callable[[Any], object] | None = None
    """A divisor (the field becomes a float), a converter, or None for the plain number."""
    needs: int = 0
    """The shortest answer in which the field is filled, if its bytes are only padding in shorter
    answers."""

    @property
    def end(self) -> int:
        """The shortest answer that has this field."""
        return max(self.offset + calcsize("=" + self.code), self.needs)


def bits(shift: int, width: int) -> Callable[[int], int]:
    """Return a converter that picks `width` bits, `shift` above the least significant one."""
    mask = (1 << width) - 1

    def pick(value: int) -> int:
        return value >> shift & mask

    return pick


def none_if(sentinel: int, divisor: int | None = None) -> Callable[[int], float | None]:
    """Return a converter for a number of which one value means "none"."""

    def convert(value: int) -> float | None:
        if value == sentinel:
            return None
        return value if divisor is None else value / divisor

    return convert
