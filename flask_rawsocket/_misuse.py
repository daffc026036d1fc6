"""What is easily written wrong, and would do nothing: it is named where it stands."""

from __future__ import annotations

import functools
import inspect
import logging
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    _Function = TypeVar("_Function", bound=Callable[..., Any])
    _Called = TypeVar("_Called")

__all__ = ["log_above_route", "name_of", "plain_function", "with_parentheses"]

log = logging.getLogger("flask_rawsocket")


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


def log_above_route(view: Any, apps: Iterable[Any], decorator: str) -> None:
    """Log that `view`, which is being decorated, is the view of a route already.

    Args:
        view: the function.
        apps: the applications that may have it.
        decorator: its name.
    """
    if any(view in app.view_functions.values() for app in list(apps)):
        log.warning(
            "%s stands above the route of %s, which has been registered without it: "
            "write it below @app.route",
            decorator,
            name_of(view),
        )
