"""`enter_process`: what a process is told in which greenlets serve the connections."""

from __future__ import annotations

import contextvars
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import gevent
import gevent.monkey

from .._tracking.runner import Runner
from .._tracking.tracker import process_tracker

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["NotPatchedError", "check_patched", "enter_process"]

_thread_ident: Final = gevent.monkey.get_original("_thread", "get_ident")
"""The system's own: gevent's has a number for each greenlet."""

_NEEDED = ("socket", "ssl", "select", "threading", "queue")


class NotPatchedError(RuntimeError):
    """The process has threads where it needs greenlets; the text says what to do."""


def check_patched(server: str) -> None:
    """Check that gevent has patched the process.

    A view that waits, or a lock, would otherwise stop every connection.

    Args:
        server: the name of the server's class.

    Raises:
        NotPatchedError: it has not.
    """
    missing = [each for each in _NEEDED if not gevent.monkey.is_module_patched(each)]
    if missing:
        raise NotPatchedError(
            f"{server} needs a process that gevent has patched, and {', '.join(missing)} "
            "is not: call gevent.monkey.patch_all() before anything else is imported"
        )


def enter_process() -> None:
    """Have what waits or works beside the requests do so in greenlets, of this thread."""
    Runner.start_thread = staticmethod(partial(_start_greenlet, gevent.get_hub()))
    process_tracker.make_loop = _make_loop


def _start_greenlet(hub: Any, function: Callable[[], None], _name: str) -> None:
    # A patched Thread would wait until it has begun: with a lock held, which keeps no greenlet out
    # if it was made before the process was patched; or in the middle of a callback of asyncio's,
    # where the new greenlet would find a loop running that is not its own.
    def spawn() -> None:
        # In an empty context, as a thread begins; a greenlet would get a copy of the request's.
        contextvars.Context().run(gevent.spawn, function)

    if _thread_ident() == hub.thread_ident:
        spawn()
    else:  # a native thread: a greenlet of its own would run only while that thread waits
        hub.loop.run_callback_threadsafe(spawn)


def _make_loop() -> asyncio.AbstractEventLoop:
    # Here: asyncio takes a while to import, and most processes never need it.
    from .loop import make_loop  # noqa: PLC0415

    return make_loop()
