"""`Conditions`: what is asked of a UNIX peer before a view admits it; it makes no system call."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

grp: Any
pwd: Any
try:
    import grp
    import pwd
except ImportError:  # Windows, whose UNIX sockets do not tell the user
    grp = pwd = None  # type: ignore[assignment, unused-ignore]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .sockinfo import PeerCredentials

__all__ = ["Conditions"]

log = logging.getLogger("flask_rawsocket")

_KINDS: Final[dict[str, type]] = {"uid": int, "user": str, "gid": int, "group": str}
"""The conditions, and the type of their values."""


class Conditions:
    """Conditions on a UNIX peer, each with the values that fulfil it.

    Args:
        asked: one value, or several, by the condition's name: ``uid``, ``user``, ``gid``,
            ``group``. None where nothing is asked.

    Raises:
        TypeError: a name is not one of these, or a value has the wrong type.
    """

    def __init__(self, asked: Mapping[Any, object]) -> None:
        self._asked: dict[str, frozenset[Any]] = {}
        for name, value in asked.items():
            if name not in _KINDS:
                raise TypeError(f"require_peer: {name!r} is not one of {', '.join(_KINDS)}")
            if value is not None:
                self._asked[name] = _several(name, value)
        _log_unknown("user", self._asked.get("user", ()), _uid_of)
        _log_unknown("group", self._asked.get("group", ()), _gid_of)

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return bool(self._asked)

    def answers(self, peer: PeerCredentials) -> Iterator[bool]:
        """Yield for each condition whether `peer` fulfils it."""
        uid = None if peer.uid == _unmapped("uid") else peer.uid
        groups = {peer.gid, *(peer.groups or ())} - {_unmapped("gid")}
        for name, values in self._asked.items():
            match name:
                case "uid":
                    yield uid in values
                case "user":
                    yield uid in _ids(values, _uid_of)
                case "gid":
                    yield not groups.isdisjoint(values)
                case _:
                    yield not groups.isdisjoint(_ids(values, _gid_of))


def _several(name: str, value: object) -> frozenset[Any]:
    """Return the values of a condition as a set.

    Args:
        name: the condition's name.
        value: one value, or several.

    Raises:
        TypeError: one of them has the wrong type.
    """
    several: Iterable[object] = (value,)
    # The elements of bytes are numbers, but bytes are not meant as several ids.
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        several = value
    kind = _KINDS[name]
    found = set()
    for each in several:
        # True is an int too, and would be user 1.
        if not isinstance(each, kind) or isinstance(each, bool):
            raise TypeError(f"require_peer: {name}: {each!r} is not {_WITH_ARTICLE[kind]}")
        found.add(each)
    return frozenset(found)


_WITH_ARTICLE: Final[dict[type, str]] = {int: "an int", str: "a str"}
_PROC: Final = Path("/proc")
_EVERYBODY: Final = ["0", "0", "4294967295"]
"""The id map of the system's first user namespace, where each id is mapped to itself."""


@functools.cache
def _unmapped(kind: str) -> int | None:
    """Return the id that the kernel shows for ids that our user namespace does not map.

    It is 65534, which is also a real user, ``nobody`` (user_namespaces(7), "Unmapped user and group
    IDs"): in a container it may be anybody.

    Args:
        kind: ``uid`` or ``gid``.

    Returns:
        None if our namespace maps every id.
    """
    try:
        if (_PROC / f"self/{kind}_map").read_text().split() == _EVERYBODY:
            return None
        return int((_PROC / f"sys/kernel/overflow{kind}").read_text())
    except (OSError, ValueError):  # another system
        return None


def _log_unknown(kind: str, names: Iterable[str], find: Callable[[str], int]) -> None:
    """Log each of `names` that the system does not know now: a misspelt one admits nobody.

    It may know it later, and is asked for each request; so this is no error.
    """
    for name in sorted(names):
        if not _ids([name], find):
            log.warning(
                "require_peer: there is no %s %r on this system; it admits nobody", kind, name
            )


def _ids(names: Iterable[str], find: Callable[[str], int]) -> set[int]:
    """Return the ids of `names`, looked up anew, as the user database may change at any time.

    An unknown name admits nobody.
    """
    found: set[int] = set()
    if pwd is None:  # a system without a user database
        return found
    for name in names:
        try:
            found.add(find(name))
        except (KeyError, ValueError):  # ValueError: it cannot be a name
            continue
    return found


def _uid_of(name: str) -> int:
    uid: int = pwd.getpwnam(name).pw_uid
    return uid


def _gid_of(name: str) -> int:
    gid: int = grp.getgrnam(name).gr_gid
    return gid
