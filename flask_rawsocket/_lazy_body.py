"""`begin`: have a lazy WSGI application begin, while its server has not begun to send.

An application that is a generator function, or is wrapped in one as by Werkzeug's debugger, calls
the view only when its body is first asked for an item.  A server asks for that when it is already
amid its response, and by then a view cannot take the connection over cleanly any more.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["begin", "close"]


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
