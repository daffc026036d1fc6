"""What a view does once its client is gone: stop at its next checkpoint, or stream no further."""

from __future__ import annotations

import contextlib
import functools
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

from werkzeug.exceptions import ClientDisconnected

from .errors import ConnectionClosedError
from .globals import get_current_conn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextvars import Token
    from types import TracebackType

    from .connection import Connection

    _View = TypeVar("_View", bound=Callable[..., Any])

__all__ = ["StopWhenDisconnected", "UntilDisconnected", "checkpoint"]

_gone: Final[ContextVar[threading.Event | None]] = ContextVar("rawsocket_gone", default=None)
"""Set when the client of the innermost `StopWhenDisconnected` is gone."""


def _is_gone(connection: Connection) -> bool:
    try:
        return connection.is_disconnected()
    except ConnectionClosedError:
        return True


def checkpoint() -> None:
    """Raise ``ClientDisconnected`` if the current request's client is gone."""
    gone = _gone.get()
    if _is_gone(get_current_conn()) if gone is None else gone.is_set():
        raise ClientDisconnected


class StopWhenDisconnected:
    """See `RawSocket.stop_when_disconnected`."""

    def __init__(self) -> None:
        self._token: Token[threading.Event | None]
        self._cancel: Callable[[], None]

    def __call__(self, view: _View) -> _View:
        """Decorate `view`."""

        @functools.wraps(view)
        def stopping(*args: Any, **kwargs: Any) -> Any:
            # Each call has one of its own: views run in many threads at once.
            with StopWhenDisconnected():
                return view(*args, **kwargs)

        return stopping  # type: ignore[return-value]

    def __enter__(self) -> Callable[[], None]:
        gone = threading.Event()
        self._cancel = get_current_conn().on_disconnect(gone.set)
        self._token = _gone.set(gone)
        return checkpoint

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _gone.reset(self._token)
        self._cancel()


class UntilDisconnected:
    """See `RawSocket.until_disconnected`."""

    def __init__(self, iterable: Iterable[bytes]) -> None:
        self._iterable = iterable
        self._connection = get_current_conn()

    def __iter__(self) -> Iterator[bytes]:
        """Give the items, until the client is gone."""
        for item in self._iterable:
            yield item
            if _is_gone(self._connection):
                self.close()
                if self._connection.managed:
                    with contextlib.suppress(ConnectionClosedError):
                        self._connection.close_after_response()
                return

    def close(self) -> None:
        """Close the iterable, which the server does at the end of every response."""
        close = getattr(self._iterable, "close", None)
        if close is not None:
            close()
