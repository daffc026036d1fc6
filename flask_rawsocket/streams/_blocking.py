"""Who blocks the event loop: a line in the log that names it.

While there are streams a thread looks whether the loop has had its turn. Where it has not for a
second, the log gets the stack of what it is running.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import sys
import threading
import time
import traceback
from functools import partial
from typing import Final

from .._tracking.runner import Runner
from ._live import streams

__all__ = ["watch_loop"]

log = logging.getLogger("flask_rawsocket")

LIMIT: Final = 1.0
"""The seconds after which a loop that has had no turn is called blocked."""

_INTERVAL: Final = 0.25
_IDLE: Final = 40
"""So many looks without a stream, and the thread ends."""

_IN_LIBRARY: Final = (os.sep + "asyncio" + os.sep, os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
"""Whose frames are not the application's."""


class _Watch:
    """The thread that looks, and the loop that it looks at."""

    def __init__(self) -> None:
        self._is_on = False
        """Set on the loop only; cleared by the thread."""
        self._turn = 0.0

    def start(self) -> None:
        """Watch the running loop, unless that is being done."""
        if self._is_on:
            return
        loop = asyncio.get_running_loop()
        self._is_on = True
        self._turn = time.monotonic()
        watch = partial(self._watch, loop, threading.get_ident())
        try:
            Runner.start_thread(watch, "rawsocket-blocking")
        except RuntimeError:  # no thread is left: nobody watches
            self._is_on = False

    def _had_turn(self) -> None:
        self._turn = time.monotonic()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        said, idle, pause = False, 0, threading.Event()
        while idle < _IDLE:
            asked = time.monotonic()
            loop.call_soon_threadsafe(self._had_turn, context=contextvars.Context())
            pause.wait(_INTERVAL)
            while self._turn < asked:  # ask no more before it has answered
                if not said and time.monotonic() - asked > LIMIT:
                    said = True
                    _complain(thread)
                pause.wait(_INTERVAL)
            said = False
            idle = 0 if streams else idle + 1
        self._is_on = False


def _complain(thread: int) -> None:
    frame = sys._current_frames().get(thread)  # noqa: SLF001  documented
    if frame is None:
        return
    stack = traceback.extract_stack(frame)
    own = [each for each in stack if not each.filename.startswith(_IN_LIBRARY[1])]
    own = [each for each in own if _IN_LIBRARY[0] not in each.filename] or list(stack)
    # The outermost frame of the application's is its handler or generator.
    handler = next((each for each in own if "threading" not in each.filename), own[-1])
    log.warning(
        "%s (%s:%d) has blocked the event loop, and every stream, for more than %g s. "
        "Use `await rawsocket.in_thread(f, *args)` for calls that take their time.\n%s",
        handler.name,
        handler.filename,
        handler.lineno or 0,
        LIMIT,
        "".join(traceback.format_list(stack)),
    )


_watch: _Watch = _Watch()


def watch_loop() -> None:
    """Have the running loop, which is that of this process, watched while there are streams."""
    _watch.start()


def _after_fork() -> None:
    global _watch  # noqa: PLW0603  the thread is the parent's
    _watch = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
