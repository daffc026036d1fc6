"""Who the peer is: `RequirePeer`, which UNIX peers a view admits, and `peer_identity`."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from flask import abort, current_app

from ._misuse import log_above_route
from .globals import get_current_conn

grp: Any
pwd: Any
try:
    import grp
    import pwd
except ImportError:  # Windows, whose UNIX sockets do not tell the user
    grp = pwd = None  # type: ignore[assignment, unused-ignore]

if TYPE_CHECKING:
    from collections.abc import Callable

    from .sockinfo import PeerCredentials

    _View = TypeVar("_View", bound=Callable[..., Any])
    _T = TypeVar("_T", int, str)

__all__ = ["RequirePeer", "peer_identity"]

log = logging.getLogger("flask_rawsocket")


def peer_identity() -> str:
    """See `RawSocket.peer_identity`."""
    connection = get_current_conn()
    if connection.is_unix:
        return f"uid:{connection.peer_credentials().uid}"
    address = connection.remote_address
    return address[0] if isinstance(address, tuple) else ""


class RequirePeer:
    """A view's decorator, or a ``before_request`` function; see `RawSocket.require_peer`."""

    def __init__(
        self,
        apps: Iterable[Any] = (),
        *,
        uid: int | Iterable[int] | None,
        user: str | Iterable[str] | None,
        gid: int | Iterable[int] | None,
        group: str | Iterable[str] | None,
    ) -> None:
        if uid is None and user is None and gid is None and group is None:
            raise ValueError("require_peer needs a uid, a user, a gid or a group")
        self._apps = apps
        self._uids = _several("uid", uid, int)
        self._users = _several("user", user, str)
        self._gids = _several("gid", gid, int)
        self._groups = _several("group", group, str)
        _log_unknown("user", self._users, _uid_of)
        _log_unknown("group", self._groups, _gid_of)

    @overload
    def __call__(self, view: _View, /) -> _View: ...

    @overload
    def __call__(self) -> None: ...

    def __call__(self, view: Any = None) -> Any:
        """Decorate `view`; without one, act as a ``before_request`` function and check the peer.

        Raises:
            TypeError: `view` is not callable; a blueprint, for example, is not.
        """
        if view is None:
            return self._check()
        if not callable(view):
            raise TypeError(
                f"require_peer: {view!r} is not a view; "
                "for a blueprint or an application, pass the check to its before_request()"
            )
        log_above_route(view, self._apps, "require_peer")
        return self._of_coroutine(view) if inspect.iscoroutinefunction(view) else self._of(view)

    def _of(self, view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            self._check()
            return current_app.ensure_sync(view)(*args, **kwargs)

        return checked

    def _of_coroutine(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a coroutine function with another one, as an outer decorator may await it."""

        @functools.wraps(view)
        async def checked(*args: Any, **kwargs: Any) -> Any:
            self._check()
            return await view(*args, **kwargs)

        return checked

    def _check(self) -> None:
        connection = get_current_conn()
        if not connection.is_unix or not self._admits(connection.peer_credentials()):
            abort(403)

    def _admits(self, peer: PeerCredentials) -> bool:
        uid = None if peer.uid == _unmapped("uid") else peer.uid
        groups = {peer.gid, *(peer.groups or ())} - {_unmapped("gid")}
        return (
            (self._uids is None or uid in self._uids)
            and (self._users is None or uid in _ids(self._users, _uid_of))
            and (self._gids is None or not groups.isdisjoint(self._gids))
            and (self._groups is None or not groups.isdisjoint(_ids(self._groups, _gid_of)))
        )


def _several(name: str, value: object, kind: type[_T]) -> frozenset[_T] | None:
    """Return the values of an argument as a set; None if it was not given.

    Args:
        name: the name of the argument, for the text of an error.
        value: one value, or several.
        kind: the type that each of them must have.

    Raises:
        TypeError: one of them has another type.
    """
    if value is None:
        return None
    several: Iterable[object] = (value,)
    # The elements of bytes are numbers, but bytes are not meant as several ids.
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        several = value
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


def _log_unknown(kind: str, names: frozenset[str] | None, find: Callable[[str], int]) -> None:
    """Log each of `names` that the system does not know now: a misspelt one admits nobody.

    It may know it later, and is asked for each request; so this is no error.
    """
    for name in sorted(names or ()):
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
