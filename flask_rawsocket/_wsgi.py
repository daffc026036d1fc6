"""What every server of ours does for a WSGI application.

The connection stands in the environ; and a lazy application is made to begin while its server has
not begun to send.

An application that is a generator function, or is wrapped in one as by Werkzeug's debugger, calls
the view only when its body is first asked for an item.  A server asks for that when it is already
amid its response, and by then a view cannot take the connection over cleanly any more.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._connection.connection import Connection

__all__ = ["KEY", "begin", "close", "get", "put"]

KEY: Final = "rawsocket.connection"


def put(environ: dict[str, Any], connection: Connection) -> None:
    """Enter the connection that the request of `environ` came in on, and count the request."""
    connection.requests += 1
    environ[KEY] = connection


def get(environ: dict[str, Any]) -> Connection | None:
    """Give the connection that a server of ours put into `environ`; None on any other server."""
    return environ.get(KEY)


def begin(body: Iterable[bytes]) -> Iterable[bytes]:
    """Make the first item of `body`; before that a lazy application calls ``start_response``.

    Args:
        body: what the application has returned.

    Returns:
        The same body, whose first item is there (PEP 3333 allows a server that).
    """
    rest = iter(body)
    first: tuple[bytes, ...] = ()
    try:
        first = (next(rest),)
    except StopIteration:
        pass
    except BaseException:
        close(body)
        raise
    return _Begun(body, chain(first, rest))


def close(body: Iterable[bytes]) -> None:
    """Close `body`, as a server must at the end, if it can be closed."""
    method = getattr(body, "close", None)
    if method is not None:
        method()


class _Begun:
    """A body with its first item made."""

    def __init__(self, body: Iterable[bytes], items: Iterator[bytes]) -> None:
        self._body = body
        self._items = items

    def __iter__(self) -> Iterator[bytes]:
        return self._items

    def close(self) -> None:
        close(self._body)
