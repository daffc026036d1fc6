"""`TCPInfo`: what the kernel said of a TCP connection, decoded on access.

Nothing is decoded when the value is made: it holds the bytes, and a field is a property that
unpacks its own few. That keeps `getsockopt` + create + read one field near the price of the bare
`getsockopt` (a frozen dataclass of the same 70 fields costs twenty times that to create).
Which bytes are which is the business of a `Layout`.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from .field import FieldInfo, declared
from .fields_linux import LinuxFields
from .fields_other import OtherFields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .item import Item

__all__ = ["Layout", "TCPInfo"]

_LONGEST_ANSWER = 1024
"""``getsockopt`` of CPython never returns more than this."""


class TCPInfo(LinuxFields, OtherFields):
    """A frozen snapshot of a TCP connection, as `tcp_info()` returns it.

    A field that the kernel did not return is None, on an older kernel as on another system.
    Times are seconds as ``float``. `TCPInfo.rtt.__doc__` tells a field's meaning, unit and
    first Linux release; `TCPInfo.fields()` tells all of them.

    Equal are two values with the same bytes of the same layout. It pickles and copies.
    """

    __slots__ = ("_raw",)

    _raw: bytes
    _layout: ClassVar[Layout]
    """Set by the classes that a layout builds; only those are instantiated."""

    def __init__(self, raw: bytes) -> None:
        _set_raw(self, raw)

    @property
    def raw(self) -> bytes:
        """The bytes as the kernel returned them."""
        return self._raw

    @classmethod
    def fields(cls) -> tuple[FieldInfo, ...]:
        """Return every field of every system: name, unit, first Linux release and meaning."""
        return tuple(field.info for field in declared(TCPInfo))

    def as_dict(self) -> dict[str, Any]:
        """Return all fields that this system knows, by name; None for those not returned.

        The values are JSON-ready: numbers, booleans, None, and enums that are strings or numbers.
        """
        return {name: getattr(self, name) for name in self._layout.items}

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"TCPInfo is frozen: cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"TCPInfo is frozen: cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TCPInfo):
            return NotImplemented
        return self._layout is other._layout and self._raw == other._raw

    def __hash__(self) -> int:
        return hash((self._layout.name, self._raw))

    def __reduce__(self) -> tuple[Callable[[Layout, bytes], TCPInfo], tuple[Layout, bytes]]:
        return type(self._layout).decode, (self._layout, self._raw)

    def __repr__(self) -> str:
        shown = "".join(
            f" {name}={value:g}"
            for name in ("rtt", "snd_cwnd", "snd_cwnd_bytes", "unacked", "total_retrans")
            if (value := getattr(self, name)) is not None
        )
        return f"<TCPInfo {self.state}{shown} ({self._layout.system}, {len(self._raw)} bytes)>"


_set_raw = TCPInfo.__dict__["_raw"].__set__
"""The slot's own setter: ``__setattr__`` refuses, and ``object.__setattr__`` looks the name up."""


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
        """For those who count nanoseconds: `classes[len(raw)](raw)` is `decode(raw)`."""

    def decode(self, raw: bytes) -> TCPInfo:
        """Return the value of an answer of any length; never fails."""
        return self.classes[len(raw)](raw)

    def __reduce__(self) -> str:
        return self.name


def _build(layout: Layout, present: frozenset[str]) -> type[TCPInfo]:
    """Return the class of the answers that hold just the fields in `present`."""
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
        return lambda info: unpack(info._raw)[0]  # noqa: SLF001
    if isinstance(how, int):
        return lambda info: unpack(info._raw)[0] / how  # noqa: SLF001
    return lambda info: how(unpack(info._raw)[0])  # noqa: SLF001
