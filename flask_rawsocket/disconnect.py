"""What a view does once its client is gone: stop at its next checkpoint, or stream no further."""

from __future__ import annotations

import contextlib
import functools
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flask import current_app
from werkzeug.exceptions import ClientDisconnected

from ._wsgi import close
from .errors import ConnectionClosedError
from .globals import get_current_conn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from ._connection.connection import Connection

    _View = TypeVar("_View", bound=Callable[..., Any])

__all__ = ["StopWhenDisconnected", "UntilDisconnected", "checkpoint"]


class _Block:
    """One block that is being run inside of a `StopWhenDisconnected`."""

    def __init__(self, connection: Connection, outer: _Block | None) -> None:
        self.connection = connection
        self.outer = outer if outer is not None and outer.connection is connection else None
        """The one around it in the same request."""
        self._told = threading.Event()
        """Set when there is something to see, or nobody is going to tell any more."""
        self._cancel = connection._owner.watch(connection, self._told)  # noqa: SLF001  wakes at a close too

    def checkpoint(self) -> None:
        """Raise ``ClientDisconnected`` if the block's client is gone; from any thread."""
        if self._told.is_set() and _is_gone(self.connection):
            raise ClientDisconnected

    def end(self) -> None:
        """Watch no more; from here on `checkpoint` asks the kernel."""
        self._cancel()
        self._told.set()


_innermost: Final[ContextVar[_Block | None]] = ContextVar("rawsocket_block", default=None)
"""The innermost block of this context; a former request's, where that was not left in it."""


def _is_gone(connection: Connection) -> bool:
    try:
        return connection.is_disconnected()
    except ConnectionClosedError:
        return True


def checkpoint() -> None:
    """Raise ``ClientDisconnected`` if the current request's client is gone."""
    connection = get_current_conn()
    block = _innermost.get()
    if block is not None and block.connection is connection:
        block.checkpoint()
    elif _is_gone(connection):
        raise ClientDisconnected


class StopWhenDisconnected:
    """See `RawSocket.stop_when_disconnected`."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        """Those being run: several, where they are nested or in several threads."""

    def __call__(self, view: _View) -> _View:
        """Decorate `view`, which may be an ``async def``."""

        @functools.wraps(view)
        def stopping(*args: Any, **kwargs: Any) -> Any:
            # Each call has one of its own: views run in many threads at once.
            with StopWhenDisconnected():
                return current_app.ensure_sync(view)(*args, **kwargs)

        return stopping  # type: ignore[return-value]

    def __enter__(self) -> Callable[[], None]:
        block = _Block(get_current_conn(), _innermost.get())
        self._blocks.append(block)
        _innermost.set(block)
        return block.checkpoint

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block = _innermost.get()
        if block is not None and block in self._blocks:
            self._blocks.remove(block)
            _innermost.set(block.outer)
        else:
            # It was entered in another context, such as a generator's first caller. Should this be
            # the wrong one of several, its checkpoint is merely slower from here on.
            block = self._blocks.pop()
        block.end()


class UntilDisconnected:
    """See `RawSocket.until_disconnected`."""

    def __init__(self, iterable: Iterable[bytes]) -> None:
        self._iterable = iterable
        self._connection = get_current_conn()

    def __iter__(self) -> Iterator[bytes]:
        """Give the items, until the client is gone."""
        items = iter(self._iterable)
        while not _is_gone(self._connection):
            try:
                item = next(items)
            except StopIteration:
                return
            yield item
        self.close()
        if self._connection.managed:
            # Not the response's proper end, which a client that has only half-closed would read,
            # and take what it has for the whole.
            with contextlib.suppress(ConnectionClosedError):
                self._connection.abort()

    def close(self) -> None:
        """Close the iterable, which the server does at the end of every response."""
        close(self._iterable)
