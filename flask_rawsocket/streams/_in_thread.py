"""Calls that take their time, made in threads so that the event loop goes on."""

from __future__ import annotations

import asyncio
import contextvars
import os
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from .._tracking.runner import Runner
from ._stream import current

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

__all__ = ["in_thread"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_MOST_THREADS: Final = 32
"""How many calls are made at once; one more waits."""

_runner = Runner("rawsocket-in-thread", _MOST_THREADS)


def _after_fork() -> None:
    global _runner  # noqa: PLW0603  the threads are the parent's
    _runner = Runner("rawsocket-in-thread", _MOST_THREADS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


async def in_thread(function: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """See `RawSocket.in_thread`."""
    stream = current()
    app = stream.app if stream is not None else None
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_R] = loop.create_future()

    def call() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = _call_in(app, function, *args, **kwargs)
        except BaseException as exc:  # noqa: BLE001  it is raised where it is awaited
            error = exc
        loop.call_soon_threadsafe(_settle, future, result, error, context=contextvars.Context())

    _runner.submit(call)
    return await future


def _call_in(app: Flask | None, function: Any, *args: Any, **kwargs: Any) -> Any:
    if app is None:
        return function(*args, **kwargs)
    with app.app_context():
        return function(*args, **kwargs)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled meanwhile
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # which a future does not take
        future.set_exception(RuntimeError(f"the call raised {error!r}"))
    else:
        future.set_exception(error)
