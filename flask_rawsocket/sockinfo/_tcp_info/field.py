"""A field of `TCPInfo` and its meaning; its place in the bytes is up to the layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Field", "FieldInfo", "declared"]

T_co = TypeVar("T_co", covariant=True)


class FieldInfo(NamedTuple):
    """A row of the table of fields."""

    name: str
    unit: str
    """``s``, ``bytes``, ``bytes/s``, ``segments``, ``count``, ``shift``, ``flag``, ``mask``,
    ``number`` or the name of an enum."""
    since: str | None
    """The first Linux release with the field; None if Linux does not have it."""
    meaning: str


class Field(Generic[T_co]):
    """What a field means; it is None on an instance whose system lacks it.

    The classes that a `Layout` builds replace it with a property where the bytes are present.
    """

    def __init__(self, unit: str, meaning: str, *, since: str | None = None) -> None:
        self.name = ""
        """Set by the class that declares the field."""
        self.unit = unit
        self.since = since
        self.meaning = meaning
        origin = f"Linux {since}" if since else "not on Linux"
        self.__doc__ = f"{meaning} [{unit}; {origin}]"

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T_co | None: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T_co | None:
        return self if instance is None else None

    @property
    def info(self) -> FieldInfo:
        """The field as a row of the table."""
        return FieldInfo(self.name, self.unit, self.since, self.meaning)


def declared(cls: type) -> Iterator[Field[object]]:
    """Yield the fields that `cls` and its bases declare, in order of declaration."""
    for base in cls.__mro__:
        for value in vars(base).values():
            if isinstance(value, Field):
                yield value
