"""`Stream`: what answers a request from the event loop, and `current_stream`.

Everything here runs on the loop. A stream ends in one place, `_guarded`: whoever wants it to end
says why by `end`, which interrupts what its generator or handler is waiting for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, cast

from werkzeug.local import LocalProxy

from .._connection import ending
from .._connection.connection import life_of
from ._blocking import watch_loop
from ._end import End, Interruption
from ._idle import IdleTimer
from ._live import streams
from ._writers import ConnectionWriter, SlowError, ThreadWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from .._connection.connection import Connection
    from .._connection.state import CloseReason

__all__ = ["End", "Stream", "current", "current_stream"]

log = logging.getLogger("flask_rawsocket")


class Stream:
    """A response that the event loop sends, or a WebSocket.

    Attributes:
        app: the Flask application whose view has returned it.
        connection: the Connection of the request; None where the server does not show its socket.
        last_event_id: what the client has sent as ``Last-Event-ID``; None if it has not.
        idle_timeout: the seconds for which it may say nothing; None for any time.
        sent: how many parts or messages it has sent or received.
    """

    idle_timeout: float | None = None
    _idle_timer: IdleTimer | None = None
    _interruption: Interruption | None = None

    def __init__(
        self, app: Flask, connection: Connection | None, last_event_id: str | None = None
    ) -> None:
        self.app = app
        self.connection = connection
        self.last_event_id = last_event_id
        self.is_over = False
        self.sent = 0
        self._head = b""
        self._came = b""
        """What the client had sent already."""
        self._out: Any = None
        self._task: asyncio.Task[Any] | None = None
        self._ending: End | None = None
        self._at_end: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name} on {self.connection!r}>"

    # How it begins

    def take_over(self, connection: Connection, head: bytes) -> None:
        """Take `connection` over, and begin by sending `head`. Called in the request's thread."""
        self._head = head
        connection.hijack_async(self.serve)

    async def serve(self, reader: Any, writer: asyncio.StreamWriter) -> None:
        """Serve the connection, which has been taken over.

        Args:
            reader: our own, of which what has come can be taken.
            writer: asyncio's.
        """
        transport: Any = writer.transport
        listening = self._received, self._gone, self.filled, self.emptied
        out = ConnectionWriter(transport, *listening)
        self._came = reader.take()
        self._begin(out)
        try:
            if reader.at_eof() or out.is_closing:
                asyncio.get_running_loop().call_soon(self._gone)  # when it has begun
            await self._guarded()
            await self._end_connection(out)
        finally:
            self._over()
            out.leave()

    async def hold(self, out: ThreadWriter) -> End:
        """Write to a thread that is held for this; return why it has ended."""
        self._begin(out)
        try:
            if self._ending is None:  # the thread may have left before this began
                await self._guarded()
        finally:
            self._over()
            out.end()
        return self._ending or End.COMPLETE

    def _begin(self, out: Any) -> None:
        self._out = out
        self._task = asyncio.current_task()
        _current.set(self)
        streams.add(self)
        watch_loop()
        if self.idle_timeout is not None:
            self._idle_timer = IdleTimer(self, self.idle_timeout)

    def _over(self) -> None:
        self.is_over = True
        for timer in (self._idle_timer, self._interruption):
            if timer is not None:
                timer.cancel()
        streams.discard(self)
        self._tell_end()
        self._task = None

    def _tell_end(self) -> None:
        """Tell those who wait for something else that there is no client any more."""
        at_end, self._at_end = self._at_end, []
        for function in at_end:
            function()

    def at_end(self, function: Callable[[], object]) -> None:
        """Call `function` when the stream is about to end."""
        if self.is_over:
            function()
        else:
            self._at_end.append(function)

    def not_at_end(self, function: Callable[[], object]) -> None:
        """Take back `at_end`."""
        if function in self._at_end:
            self._at_end.remove(function)

    # How it ends

    def end(self, why: End) -> None:
        """Have the stream end, unless it ends already."""
        if self._ending is not None or self.is_over:
            return
        self._ending = why
        if self._task is not None:
            self._interruption = Interruption(self, self._task)

    def stop(self) -> None:
        """The server stops."""

    def said(self) -> Any:
        """Return something that changes with whatever is said, pings aside."""
        return self.sent

    def silent(self) -> None:
        """Nothing has been said for too long."""
        self.end(End.IDLE)

    def _gone(self) -> None:
        self.end(End.GONE)

    def _received(self, data: bytes) -> None:
        """The client has sent something: of a response to be read nothing is expected."""

    def filled(self) -> None:
        """More than 64 KiB waits to be sent."""

    def emptied(self) -> None:
        """There is room again."""

    async def _guarded(self) -> None:
        """Run; afterwards `_ending` says why it has ended.

        Raises:
            CancelledError: the event loop ends it by force.
        """
        task: Any = self._task
        try:
            await self._run()
        except SlowError:
            self._ending = End.SLOW
        except BaseException as exc:
            if self._ending is None:
                if not self._is_failure(exc):
                    if isinstance(exc, asyncio.CancelledError):
                        self._forced()
                    raise
                log.exception("The stream %s failed on %s", self._name, self.connection)
                self._ending = End.FAILED
        if self._ending is None:
            self._ending = End.COMPLETE
        elif task.cancelling():
            await self._absorb(task)
        self._last_words(self._ending)

    def _is_failure(self, exc: BaseException) -> bool:
        """Tell whether `exc` comes from the application, and is not how it is interrupted.

        It may be the cancellation of a task that it has awaited; and ``sys.exit()`` ends no other
        stream.
        """
        if isinstance(exc, asyncio.CancelledError):
            return self._ending is None and self._task is not None and not self._task.cancelling()
        return not isinstance(exc, GeneratorExit)  # with which the interpreter ends a coroutine

    @staticmethod
    async def _absorb(task: asyncio.Task[Any]) -> None:
        """Have the cancellation that `end` has asked for be over: the connection is in order."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # where it has not been raised yet
        while task.cancelling():
            task.uncancel()

    async def _end_connection(self, out: ConnectionWriter) -> None:
        """Have everything sent; where the client would take it for complete, reset it."""
        if self._ending in (End.COMPLETE, End.STOP):
            try:
                await out.flush()
            except SlowError:
                self._ending = End.SLOW
        why, connection = self._ending, self.connection
        if connection is None or why is None:
            return
        self._note(why)
        is_short = why in (End.FAILED, End.IDLE) and not self._shows_its_end
        if why is End.SLOW or is_short:
            connection.abort()
            await asyncio.sleep(0)  # the loop resets it now, before it is closed in good order

    def _note(self, why: End) -> None:
        """Note why the connection ends."""
        if self.connection is not None:
            ending.note(life_of(self.connection), self._reason(why))

    def _reason(self, why: End) -> CloseReason:
        """Return why the connection ends."""
        return why.value

    _shows_its_end = True
    """Whether the client can see that something is missing."""

    # What each kind does

    @property
    def _name(self) -> str:
        """What the application calls it."""
        return "of nothing"

    async def _run(self) -> None:
        """Send the head, and all that follows."""

    def _forced(self) -> None:
        """The event loop ends it by force: send what the client can be told at once."""

    def _last_words(self, why: End) -> None:
        """Send what belongs at the end."""


_current: Final[ContextVar[Stream]] = ContextVar("rawsocket_stream")


def current() -> Stream | None:
    """Return the stream whose generator or handler is running; None outside of one."""
    return _current.get(None)


current_stream = cast(
    "Stream",
    LocalProxy(
        _current,
        unbound_message="There is no current stream: current_stream is for the async generator or "
        "handler that was given to rawsocket.stream(), events() or websocket().",
    ),
)
"""The `Stream` whose generator or handler is running: a proxy."""
