"""`TCPInfo`: what the kernel reported about a TCP connection, decoded on access.

Creating the value decodes nothing: it holds the bytes, and each field is a property that unpacks
its own. So ``getsockopt``, creating the value and reading one field together cost little more than
``getsockopt`` alone. (To create a frozen dataclass of the same 70 fields takes twenty times as
long.)
A `Layout` says where each field is in the bytes.
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
"""CPython's ``getsockopt`` never returns more bytes than this."""


class TCPInfo(LinuxFields, OtherFields):
    """A frozen snapshot of a TCP connection, as `tcp_info()` returns it.

    A field that the kernel did not return is None, be it an older kernel or another system. Times
    are seconds as ``float``. `TCPInfo.rtt.__doc__` is the meaning, unit and first Linux release of
    a field; `TCPInfo.fields()` returns those of all fields.

    Two values are equal if they have the same layout and the same bytes. They can be pickled and
    copied.
    """

    __slots__ = ("_raw",)

    _raw: bytes
    _layout: ClassVar[Layout]
    """Set in the classes that a layout builds, the only ones that have instances."""

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
        """Return all fields that this system has, by name; None for those not returned.

        The values are ready for JSON: numbers, booleans, None, and enums that are strings or
        numbers.
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
"""The slot's own setter: ``__setattr__`` refuses, and ``object.__setattr__`` has to look it up."""


class _Classes(dict[int, type[TCPInfo]]):
    """The class that decodes an answer, by the answer's length; built when first needed."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout
        self._by_fields: dict[frozenset[str], type[TCPInfo]] = {}
        """The classes by the fields they have, as lengths with the same fields share one."""

    def __missing__(self, length: int) -> type[TCPInfo]:
        # Two threads may build the same class at once, and either will do: equality compares the
        # layouts, not the classes.
        present = frozenset(n for n, item in self._layout.items.items() if item.end <= length)
        cls = self._by_fields.get(present)
        if cls is None:
            cls = self._by_fields[present] = _build(self._layout, present)
        if length <= _LONGEST_ANSWER:  # recorded bytes may have any length: stay bounded
            self[length] = cls
        return cls


class Layout:
    """One system's structure, and the decoder of its bytes."""

    def __init__(
        self, name: str, module: str, system: str, order: str, items: Mapping[str, Item]
    ) -> None:
        """Describe a structure.

        Args:
            name: the global variable that holds this layout; it is pickled by this reference.
            module: the module of that variable.
            system: the name of the system, for people.
            order: the byte order of the system, ``<``, ``>`` or ``=`` as in ``struct``.
            items: the place of each field, by its name.
        """
        self.name = name
        self.__module__ = module
        self.system = system
        self.order = order
        self.items = items
        self.classes = _Classes(self)
        """The decoders by length: `classes[len(raw)](raw)` is a faster `decode(raw)`."""

    def decode(self, raw: bytes) -> TCPInfo:
        """Return the value of an answer of any length; it never fails."""
        return self.classes[len(raw)](raw)

    def __reduce__(self) -> str:
        return self.name


def _build(layout: Layout, present: frozenset[str]) -> type[TCPInfo]:
    """Return the class for answers that have exactly the fields in `present`."""
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
    """Return the function that reads one field; one of three, to decide nothing at each access."""
    # The offset costs nothing as padding in the format; as an argument of unpack_from it does.
    unpack = Struct(f"{order}{item.offset}x{item.code}").unpack_from
    how = item.how
    if how is None:
        return lambda info: unpack(info._raw)[0]  # noqa: SLF001  the property `raw` is slower
    if isinstance(how, int):
        return lambda info: unpack(info._raw)[0] / how  # noqa: SLF001  likewise
    return lambda info: how(unpack(info._raw)[0])  # noqa: SLF001  likewise
