"""What a view does once its client is gone: stop at its next checkpoint, or end its stream.

Where the server cannot watch the connection, each checkpoint asks the kernel. Where there is no
socket to ask about, as in Flask's test client, the client counts as present: nothing here gives
a right, and a view must not fail in its application's own tests.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, AnyStr, Final, Generic, NoReturn, TypeVar

from flask import current_app
from werkzeug.exceptions import ClientDisconnected

from ._connection.connection import life_of
from ._connection.liveness import watch
from ._misuse import log_above_route, name_of
from ._wsgi import close
from .errors import ConnectionClosedError, RawSocketError
from .globals import find_current_conn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from ._connection.connection import Connection

    _View = TypeVar("_View", bound=Callable[..., Any])

__all__ = ["StopWhenDisconnected", "UntilDisconnected", "checkpoint"]


class _Block:
    """A block that is running inside of a `StopWhenDisconnected`."""

    def __init__(self, connection: Connection | None, outer: _Block | None) -> None:
        self.connection = connection
        self.outer = outer if outer is not None and outer.connection is connection else None
        """The block around this one in the same request."""
        self._told = threading.Event()
        """Set when the client may be gone, or when this is not watched any more."""
        self._cancel = _watch(connection, self._told.set)
        if self._cancel is None or _must_be_asked(connection) or _is_gone(connection):
            self._told.set()  # the watcher's thread, if there is one, may get its turn much later

    def checkpoint(self) -> None:
        """Raise ``ClientDisconnected`` if the block's client is gone; callable in any thread."""
        if self._told.is_set() and _is_gone(self.connection):
            _stop(self.connection)

    def end(self) -> None:
        """Stop watching; from here on `checkpoint` asks the kernel."""
        if self._cancel is not None:
            self._cancel()
        self._told.set()


_innermost: Final[ContextVar[_Block | None]] = ContextVar("rawsocket_block", default=None)
"""The innermost block of this context, which may be one that a former request did not leave."""


def _watch(connection: Connection | None, tell: Callable[[], object]) -> Callable[[], None] | None:
    """Call `tell` when the client may be gone; return what takes that back.

    Returns:
        None if nobody can watch, as where the system is out of its means.
    """
    if connection is None:
        return None
    try:
        return watch(connection, tell)
    except RawSocketError:
        return None


def _is_gone(connection: Connection | None) -> bool:
    if connection is None:
        return False
    try:
        return connection.is_disconnected()
    except ConnectionClosedError:
        return True


def _must_be_asked(connection: Connection | None) -> bool:
    """Tell whether the watcher may not hear of the client's end: a stream's of HTTP/2."""
    exchange = life_of(connection).exchange if connection is not None else None
    return exchange is not None and exchange.must_be_asked


def checkpoint() -> None:
    """Raise ``ClientDisconnected`` if the current request's client is gone."""
    connection = find_current_conn()
    block = _innermost.get()
    if block is not None and block.connection is connection:
        block.checkpoint()
    elif _is_gone(connection):
        _stop(connection)


def _stop(connection: Connection | None) -> NoReturn:
    """Stop the application, and let its server know why."""
    _note(connection)
    raise ClientDisconnected


def _note(connection: Connection | None) -> None:
    exchange = life_of(connection).exchange if connection is not None else None
    if exchange is not None:
        exchange.client_is_gone()


class StopWhenDisconnected:
    """See `RawSocket.stop_when_disconnected`."""

    def __init__(self, apps: Iterable[Any] = ()) -> None:
        self._apps = apps
        self._blocks: list[_Block] = []
        """The running blocks: several if they are nested or in several threads."""

    def __call__(self, view: _View) -> _View:
        """Decorate `view`, which may be an ``async def``."""
        log_above_route(view, self._apps, "stop_when_disconnected")

        @functools.wraps(view)
        def stopping(*args: Any, **kwargs: Any) -> Any:
            # One for each call, as a view may run in several threads at once.
            with StopWhenDisconnected():
                return current_app.ensure_sync(view)(*args, **kwargs)

        return stopping  # type: ignore[return-value]

    def __enter__(self) -> Callable[[], None]:
        block = _Block(find_current_conn(), _innermost.get())
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
            # It was entered in another context, such as that of a generator's first caller. If this
            # is the wrong one of several, its checkpoint merely becomes slower.
            block = self._blocks.pop()
        block.end()


class UntilDisconnected(Generic[AnyStr]):
    """See `RawSocket.until_disconnected`."""

    def __init__(self, iterable: Iterable[AnyStr]) -> None:
        if callable(iterable) and not hasattr(iterable, "__iter__"):
            raise TypeError(
                f"until_disconnected takes an iterable, and {name_of(iterable)} is a function: "
                "return rawsocket.until_disconnected(generate()) from the view"
            )
        self._iterable: Iterable[Any] = iterable
        self._connection = find_current_conn()

    def __iter__(self) -> Iterator[AnyStr]:
        """Yield the items until the client is gone."""
        items = iter(self._iterable)
        while not _is_gone(self._connection):
            try:
                item = next(items)
            except StopIteration:
                return
            yield item
        _note(self._connection)
        self.close()
        if self._connection is not None and self._connection.managed:
            # A client that has only half-closed must not take what it has got for the whole
            # response, as it would after a proper end.
            with contextlib.suppress(ConnectionClosedError):
                self._connection.abort()

    def close(self) -> None:
        """Close the iterable; the server calls this at the end of every response."""
        close(self._iterable)
