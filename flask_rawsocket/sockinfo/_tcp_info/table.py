"""The table of `TCPInfo`'s fields and the systems that have each; the docs are made from it."""

from __future__ import annotations

from typing import NamedTuple

from .layout_bsd import FREEBSD_14, NETBSD, OPENBSD
from .layout_darwin import DARWIN
from .layout_linux import LITTLE_7
from .layout_windows import WINDOWS
from .value import TCPInfo

__all__ = ["FieldRow", "field_table"]

_LAYOUTS = (LITTLE_7, DARWIN, FREEBSD_14, NETBSD, OPENBSD, WINDOWS)
"""The newest layout of each system."""


class FieldRow(NamedTuple):
    """A field of `TCPInfo`: its `FieldInfo`, and the systems that have it."""

    name: str
    unit: str
    since: str | None
    """The first Linux release; None if Linux does not have the field."""
    meaning: str
    systems: tuple[str, ...]
    """``Linux``, ``macOS``, ``FreeBSD``, ``NetBSD``, ``OpenBSD``, ``Windows``."""


def field_table() -> tuple[FieldRow, ...]:
    """Return every field of every system, in order of declaration."""
    return tuple(
        FieldRow(*info, tuple(layout.system for layout in _LAYOUTS if info.name in layout.items))
        for info in TCPInfo.fields()
    )
