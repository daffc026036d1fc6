"""`EventLoop`: one asyncio loop for the connections that ``hijack_async`` has hijacked.

It runs in a thread of its own and is started by the first such connection. What the server had
read ahead is fed to the reader before the transport reads on.

Two rules: a descriptor is closed by its transport and by nobody else, as the loop's selector would
keep its number, which is the next connection's; and nothing that a handler does ends the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..errors import RawSocketError
from .freezer import Freezer
from .served import ServedConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.connection import Connection
    from .._connection.exchange import StreamHandler
    from .._connection.hijacked import HijackedSocket

    class Runner(Protocol):
        """What makes calls in other threads than the loop's."""

        def start_thread(self, function: Callable[[], None], name: str, /) -> None: ...

        def submit(self, job: Callable[[], object]) -> None: ...

        def wait(self, timeout: float) -> bool: ...


__all__ = ["EventLoop"]

log = logging.getLogger("flask_rawsocket")


class EventLoop:
    """The event loop of one process.

    Args:
        runner: what makes the closes, which run the CLOSED hooks.
        make: makes the loop.
    """

    def __init__(
        self, runner: Runner, make: Callable[[], asyncio.AbstractEventLoop] | None = None
    ) -> None:
        self._runner = runner
        # Not new_event_loop(): whatever policy the application has set is not for ours.
        self._make = make or asyncio.SelectorEventLoop
        # One bound method, and one context, for all connections.
        self._submit, self._forgets = runner.submit, self._forget
        self._nobodys = contextvars.Context()
        self._lock = threading.RLock()
        """Guards what follows. Re-entrant: a transport may be closed by the garbage collector."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._served: dict[Connection, ServedConnection] = {}
        self._new: deque[ServedConnection] = deque()
        """Those among them that the loop does not know yet."""
        self._freezer = Freezer()

    def start(self) -> asyncio.AbstractEventLoop:
        """Start the loop, unless that has been done, and return it.

        Raises:
            RawSocketError: the system has no thread or no descriptor left; ``__cause__`` says so.
        """
        try:
            return self._started()
        except (OSError, RuntimeError) as exc:
            raise RawSocketError(f"the event loop cannot be started: {exc}") from exc

    def serve(self, connection: Connection, stream: HijackedSocket, handler: StreamHandler) -> None:
        """Have `handler` serve `stream`; return at once.

        Args:
            connection: whose stream it is.
            stream: what its server has let go of.
            handler: called with a reader and a writer, on the loop.
        """
        try:
            loop = self._started()
        except BaseException:
            stream.close()
            raise
        served = ServedConnection(connection, stream, handler, self._submit, self._forgets)
        with self._lock:
            self._served[connection] = served
            self._new.append(served)
            is_first = len(self._new) == 1
        if is_first:  # it wakes the loop for those that follow, too
            loop.call_soon_threadsafe(self._begin_new, loop)

    def abort(self, connection: Connection) -> bool:
        """Reset `connection` if it is served here; its handler finds the end of the stream.

        Args:
            connection: one whose close is a reset already, by ``SO_LINGER``.

        Returns:
            Whether it is served here.
        """
        with self._lock:
            served, loop = self._served.get(connection), self._loop
        if served is None or loop is None:
            return False
        loop.call_soon_threadsafe(served.reset)
        return True

    def stop(self, timeout: float) -> bool:
        """Cancel the handlers; wait for them to end, and for the CLOSED hooks.

        Args:
            timeout: how long to wait, in seconds. A handler has half of it; then its connection
                is closed all the same.

        Returns:
            Whether all have ended.
        """
        loop = self._loop
        if loop is None:
            return True
        deadline = time.monotonic() + timeout
        ending = asyncio.run_coroutine_threadsafe(self._end_all(timeout / 2), loop)
        try:
            all_ended = ending.result(timeout)
        except TimeoutError:  # something blocks the loop
            return False
        return self._runner.wait(max(0.0, deadline - time.monotonic())) and all_ended

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = self._make()
                try:
                    self._runner.start_thread(partial(_run, loop), "rawsocket-asyncio")
                except RuntimeError:
                    loop.close()
                    raise
                self._loop = loop
            return self._loop

    def _begin_new(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            new = [*self._new]
            self._new.clear()
        for served in new:
            # In an empty context: the view's Flask contexts are torn down when the handler runs.
            served.task = loop.create_task(served.serve(), context=contextvars.Context())
            served.task.add_done_callback(served.done, context=self._nobodys)
        self._freezer.begun(len(new))

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            del self._served[connection]
        self._freezer.ended()

    async def _end_all(self, patience: float) -> bool:
        self._begin_new(asyncio.get_running_loop())
        with self._lock:
            all_served = [each for each in self._served.values() if each.task is not None]
        for each in all_served:
            each.cancel()
        if not all_served:
            return True
        _, left = await asyncio.wait(
            [each.task for each in all_served if each.task], timeout=patience
        )
        for each in all_served:
            if each.task in left:
                each.abort()
        # An aborted transport closes its socket in the loop's next round.
        await asyncio.sleep(0)
        return not left


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run `loop` for as long as the process lives."""
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            # Raised by a task that a handler has begun; asyncio lets these two through.
            log.exception("A task on the event loop wanted to exit; the loop goes on")
