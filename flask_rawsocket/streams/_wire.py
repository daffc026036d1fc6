"""`Wire`: a WebSocket as its peer has it: frames that come and go, pings, and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from .._connection.state import CloseReason
from .._tracking.tracker import process_tracker
from ._assembler import Assembler
from ._close_codes import FAILED, GOING_AWAY, NORMAL, NOT_UTF8, RESTART, check_close
from ._handshake import State
from ._inbox import Inbox
from ._outlet import Outlet
from ._stream import End

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Wire"]

PING_INTERVAL: Final = 20.0
"""The seconds between two pings, in which the peer has to say something."""

CLOSE_LIMIT: Final = 5.0
"""The seconds that the peer has to answer a close frame."""

LEAVE_LIMIT: Final = 10.0
"""The seconds after its end that a handler has which is not waiting for a message."""

_LINGER: Final = 1.0
"""The seconds in which the peer is to end the connection when both have said goodbye."""

_STEP: Final = 2048
"""The bytes that are decompressed at once: they may be a thousand times as many then."""


class Wire(Outlet):
    """What a WebSocket is made of, but for its handler.

    Args:
        protocol: the library's, which is open.
        args: those of a `Stream`.
    """

    def __init__(self, protocol: Any, *args: Any) -> None:
        super().__init__(*args)
        self._protocol = protocol
        self._inbox = Inbox()
        self._unread = b""
        """What has come and has not been looked at: the handler has enough to do."""
        self._assembler = Assembler()
        self._lost = False
        self._was_heard = True
        self._reading = True
        self._timer: asyncio.TimerHandle | None = None
        self._limit: asyncio.TimerHandle | None = None

    def _is_open(self) -> bool:
        return not (self._lost or self.is_over) and self._protocol.state is State.OPEN

    def _begin(self, out: Any) -> None:
        super()._begin(out)
        self._wait_for_ping()

    def begin_close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send a close frame, unless that has been done; the peer is to answer in time."""
        check_close(code, reason)
        if self._is_open():
            self._protocol.send_close(code, reason)
            self._rewire()
            self._flush()
            self._look_at_unread()  # the answer may be behind what nobody wants any more
            asyncio.get_running_loop().call_later(CLOSE_LIMIT, self._unanswered)
            self._inbox.wake()

    def _unanswered(self) -> None:
        if not (self.is_over or self._lost):
            self._out.abort()

    def stop(self) -> None:
        """The server stops: say so, and that it will be back."""
        self.begin_close(RESTART, "service restart")

    def _forced(self) -> None:
        # At a stop there was no time to tell all of them, nor is there any to wait for the answer.
        if self._is_open():
            self._protocol.send_close(RESTART if process_tracker.is_stopping else FAILED, "")
            self._flush()

    def silent(self) -> None:
        """Nothing has been said for too long."""
        self.begin_close(GOING_AWAY, "idle")

    def _reason(self, why: End) -> CloseReason:
        if why is not End.COMPLETE:
            return super()._reason(why)
        ours = self._protocol.close_sent
        if ours is None or self._protocol.close_rcvd_then_sent:
            return CloseReason.PEER_CLOSED
        return CloseReason.STOPPED if ours.code == RESTART else CloseReason.APP_CLOSED

    def _received(self, data: bytes) -> None:
        self._was_heard = True
        self._unread += data
        self._look_at_unread()

    def _look_at_unread(self) -> None:
        """Look at what has come, unless the handler has enough to do already."""
        while self._unread and not (self._inbox.is_full and self._is_open()):
            size = _STEP if self._protocol.extensions else len(self._unread)
            data, self._unread = self._unread[:size], self._unread[size:]
            if self._protocol.eof_sent:
                continue  # what comes after a close frame is nobody's
            self._protocol.receive_data(data)
            try:
                self._sort(self._protocol.events_received())
            except UnicodeDecodeError:
                if self._protocol.state is State.OPEN:
                    self._protocol.fail(NOT_UTF8, "not UTF-8")
            self._flush()
        self._inbox.wake()
        self._pace()

    def _sort(self, frames: Iterable[Any]) -> None:
        for frame in frames:
            message = self._assembler.take(frame)
            if message is not None and (self._is_open() or not self._inbox.is_full):
                self.sent += 1
                self._inbox.put(message)

    def _pace(self) -> None:
        """Read no more while the handler has enough to do, or the peer does not read answers."""
        reading = not (self._inbox.is_full or self._is_full) or not self._is_open()
        if reading is not self._reading:
            self._reading = reading
            if reading:
                self._out.resume_reading()
            else:
                self._out.pause_reading()

    def filled(self) -> None:
        """More than 64 KiB waits to be sent: what asks for an answer is not read either."""
        super().filled()
        self._pace()

    def emptied(self) -> None:
        super().emptied()
        self._pace()

    def _flush(self) -> None:
        """Send what the protocol has to send; b"" says that the connection is to be closed."""
        for data in self._protocol.data_to_send():
            if data:
                self._out.write(data)
            else:
                # The peer is to close as well; what is unread when we do would cost it our last
                # words, as the kernel resets the connection then (RFC 6455, section 7.1.1).
                self._note(self._ending or End.COMPLETE)
                self._set_limit(LEAVE_LIMIT)
                self._tell_end()
                self._rewire()
                self._inbox.wake()
                self._out.end()
                asyncio.get_running_loop().call_later(_LINGER, self._unanswered)

    def _gone(self) -> None:
        """The peer has gone: the handler hears of it, and has a while to end."""
        if not self._lost:
            self._lost = True
            self._protocol.receive_eof()
            self._protocol.data_to_send()
            self._set_limit(LEAVE_LIMIT)
            self._tell_end()
            self._rewire()
            self._out.close()
        self._inbox.wake()

    def _set_limit(self, seconds: float | None) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if seconds is not None and not self.is_over:
            self._limit = asyncio.get_running_loop().call_later(seconds, self.end, End.GONE)

    def _wait_for_ping(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PING_INTERVAL, self._ping)

    def _ping(self) -> None:
        """See to it that the peer says something, or drop it."""
        if not self._is_open():
            return
        if self._is_stalled():
            self.end(End.SLOW)
            return
        if self._is_full:
            pass  # there is something on its way
        elif not self._was_heard:
            self._protocol.fail(FAILED, "keepalive ping timeout")
            self._flush()
            return
        else:
            self._protocol.send_ping(b"")
            self._flush()
        self._was_heard = not self._reading  # while we do not read, we do not hear
        self._wait_for_ping()

    def _over(self) -> None:
        for timer in (self._timer, self._limit):
            if timer is not None:
                timer.cancel()
        super()._over()
        self._inbox.wake()  # for coroutines that the handler has left behind
