"""``TCPInfo``: what the kernel said of a TCP connection, decoded on access.

Nothing is decoded when the value is made: it holds the bytes, and a field is a property that
unpacks its own few. That keeps `getsockopt` + create + read one field near the price of the bare
`getsockopt` (a frozen dataclass of the same 70 fields costs twenty times that to create).
Which bytes are which is the business of a ``Layout``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from flask_rawsocket.sockinfo._field import FieldInfo, declared
from flask_rawsocket.sockinfo._fields_linux import LinuxFields
from flask_rawsocket.sockinfo._fields_other import OtherFields

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask_rawsocket.sockinfo._layout import Layout

__all__ = ["TCPInfo"]


class TCPInfo(LinuxFields, OtherFields):
    """A frozen snapshot of a TCP connection, as ``tcp_info()`` returns it.

    A field that the kernel did not return is None, on an older kernel as on another system.
    Times are seconds as ``float``. ``TCPInfo.rtt.__doc__`` tells a field's meaning, unit and
    first Linux release; ``TCPInfo.fields()`` tells all of them.

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


#: The slot's own setter: ``__setattr__`` refuses, and ``object.__setattr__`` looks the name up.
_set_raw = TCPInfo.__dict__["_raw"].__set__
