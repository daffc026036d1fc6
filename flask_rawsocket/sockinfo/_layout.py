"""A ``Layout``: where in the bytes of one system's answer each field lies.

Decoding goes by the length of the answer, never by the version of the kernel: distributions
backport. For every set of fields that a length can hold, one subclass of ``TCPInfo`` is built, on
first use; in it a field that is there is a property, and one that is not is None.
"""

from __future__ import annotations

from struct import Struct, calcsize
from typing import TYPE_CHECKING, Any, NamedTuple

from flask_rawsocket.sockinfo._field import declared
from flask_rawsocket.sockinfo._tcpinfo import TCPInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MICRO", "MILLI", "Item", "Layout", "bits", "none_if"]

#: Divisors that make seconds. Dividing, unlike multiplying by 1e-6, gives the float nearest to
#: the decimal number: 42 us is exactly ``0.000042``.
MILLI = 1_000
MICRO = 1_000_000

#: ``getsockopt`` of CPython never returns more than this.
_LONGEST_ANSWER = 1024


class Item(NamedTuple):
    """The place of one field and how to read it."""

    offset: int
    code: str
    """A character of the ``struct`` module."""
    how: int | Callable[[Any], object] | None = None
    """A divisor (the field becomes a float), a converter, or None for the plain number."""
    needs: int = 0
    """The answer's length from which on the field is filled, where its own bytes had been there
    before as padding."""

    @property
    def end(self) -> int:
        """The length that an answer needs to have this field."""
        return max(self.offset + calcsize("=" + self.code), self.needs)


def bits(shift: int, width: int) -> Callable[[int], int]:
    """Return a converter that picks ``width`` bits, ``shift`` from the least significant."""
    mask = (1 << width) - 1

    def pick(value: int) -> int:
        return value >> shift & mask

    return pick


def none_if(sentinel: int, divisor: int | None = None) -> Callable[[int], float | None]:
    """Return a converter for a number that at one value means "none"."""

    def convert(value: int) -> float | None:
        if value == sentinel:
            return None
        return value if divisor is None else value / divisor

    return convert


class _Classes(dict[int, type[TCPInfo]]):
    """From the length of an answer to the class that decodes it, built when first asked for."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout
        self._by_fields: dict[frozenset[str], type[TCPInfo]] = {}
        """Several lengths hold the same fields, and share a class."""

    def __missing__(self, length: int) -> type[TCPInfo]:
        # Two threads may build the same class at once: equality looks at the layout, not at the
        # class, so that either will do.
        present = frozenset(n for n, item in self._layout.items.items() if item.end <= length)
        cls = self._by_fields.get(present)
        if cls is None:
            cls = self._by_fields[present] = _build(self._layout, present)
        if length <= _LONGEST_ANSWER:  # recorded bytes may be of any length: stay bounded
            self[length] = cls
        return cls


class Layout:
    """One system's structure, and the decoder of its bytes."""

    def __init__(
        self, name: str, module: str, system: str, order: str, items: Mapping[str, Item]
    ) -> None:
        """Describe a structure.

        Args:
            name: the global variable that this layout is bound to,
            module: and its module; a layout is pickled by that reference.
            system: the name of the system, for people.
            order: ``<``, ``>`` or ``=``, as in ``struct``: the byte order of the system.
            items: by field name.
        """
        self.name = name
        self.__module__ = module
        self.system = system
        self.order = order
        self.items = items
        self.classes = _Classes(self)
        """For those who count nanoseconds: ``classes[len(raw)](raw)`` is ``decode(raw)``."""

    def decode(self, raw: bytes) -> TCPInfo:
        """Return the value of an answer of any length; never fails."""
        return self.classes[len(raw)](raw)

    def __reduce__(self) -> str:
        return self.name


def _build(layout: Layout, present: frozenset[str]) -> type[TCPInfo]:
    """Return the class of the answers that hold just the fields in ``present``."""
    namespace: dict[str, object] = {
        "__slots__": (),
        "__module__": TCPInfo.__module__,
        "__doc__": TCPInfo.__doc__,
        "_layout": layout,
    }
    for field in declared(TCPInfo):
        namespace[field.name] = (
            property(_getter(layout.order, layout.items[field.name]), doc=field.__doc__)
            if field.name in present
            else None
        )
    return type(TCPInfo.__name__, (TCPInfo,), namespace)


def _getter(order: str, item: Item) -> Callable[[TCPInfo], object]:
    """Return the function that reads one field: three kinds, so that none decides at run time."""
    # The offset as padding in the format is free; as an argument of unpack_from it is not.
    unpack = Struct(f"{order}{item.offset}x{item.code}").unpack_from
    how = item.how
    if how is None:
        return lambda info: unpack(info._raw)[0]  # noqa: SLF001 - TCPInfo's other half
    if isinstance(how, int):
        return lambda info: unpack(info._raw)[0] / how  # noqa: SLF001
    return lambda info: how(unpack(info._raw)[0])  # noqa: SLF001
