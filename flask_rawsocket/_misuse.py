"""What is easily written wrong, and would do nothing: it is refused where it stands, by name."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    _Function = TypeVar("_Function", bound=Callable[..., Any])
    _Called = TypeVar("_Called")

__all__ = ["name_of", "plain_function", "with_parentheses"]


def name_of(function: object) -> str:
    """Return the name that a user knows a function by."""
    return str(getattr(function, "__qualname__", None) or repr(function))


def plain_function(function: _Called, taker: str) -> _Called:
    """Return `function`, which `taker` is to call.

    Args:
        function: what a user has passed.
        taker: the name of the method that takes it.

    Raises:
        TypeError: it cannot be called; or it is a coroutine function, which nobody would await.
    """
    if not callable(function):
        raise TypeError(f"{taker} decorates a function, not {function!r}")
    called = getattr(function, "__call__", None)  # noqa: B004  an object may have an async one
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called):
        raise TypeError(
            f"{taker} takes a plain function: {name_of(function)} is a coroutine function, "
            "which nobody would await"
        )
    return function


def with_parentheses(method: _Function) -> _Function:
    """Let `method`, which returns a decorator, say so where it is written as the decorator."""

    @functools.wraps(method)
    def checked(self: object, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and callable(args[0]):
            name = method.__name__
            raise TypeError(
                f"{name} takes parentheses: write @rawsocket.{name}(...) above {name_of(args[0])}"
            )
        return method(self, *args, **kwargs)

    return checked  # type: ignore[return-value]
