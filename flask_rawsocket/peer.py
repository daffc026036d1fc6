"""Who the peer is: `RequirePeer`, which UNIX peers a view admits, and `peer_identity`."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from flask import abort, current_app, request

from ._conditions import Conditions
from ._misuse import log_above_route
from .globals import get_current_conn

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._connection.connection import Connection
    from .sockinfo import PeerCredentials

    _View = TypeVar("_View", bound=Callable[..., Any])

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
        all_of: Mapping[str, object],
        any_of: Mapping[Any, object] | None = None,
    ) -> None:
        self._apps = apps
        self._all_of = Conditions(all_of)
        if any_of is not None and not isinstance(any_of, Mapping):
            raise TypeError(
                f"require_peer: any_of: {any_of!r} is not a mapping such as "
                "{'user': 'root', 'group': 'adm'}"
            )
        self._any_of = Conditions(any_of or {})
        if any_of is not None and not self._any_of:
            raise ValueError("require_peer: any_of needs a uid, a user, a gid or a group")
        if not self._all_of and not self._any_of:
            raise ValueError("require_peer needs a uid, a user, a gid, a group, or any_of")

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
        peer = connection.peer_credentials() if connection.is_unix else None
        if peer is None or not self._admits(peer):
            _log_refusal(connection, peer)
            abort(403)

    def _admits(self, peer: PeerCredentials) -> bool:
        return all(self._all_of.answers(peer)) and (
            not self._any_of or any(self._any_of.answers(peer))
        )


def _log_refusal(connection: Connection, peer: PeerCredentials | None) -> None:
    """Log which peer a view has refused: who asks for what it may not have is worth knowing."""
    view = request.endpoint or request.path
    if peer is None:
        log.warning(
            "require_peer: %r has refused %s, which is not a UNIX peer", view, connection.key
        )
        return
    log.warning(
        "require_peer: %r has refused uid %s (%s), gid %s (%s), pid %s, on %s",
        view,
        peer.uid,
        peer.user or "no name",
        peer.gid,
        peer.group or "no name",
        peer.pid or "unknown",
        connection.key,
    )
