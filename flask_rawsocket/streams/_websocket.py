"""`WebSocket`: what the handler of ``rawsocket.websocket`` talks through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from ..errors import InvalidStateError
from ._close_codes import ABNORMAL, FAILED, NORMAL, WebSocketClosedError
from ._event import text_of
from ._handshake import data_frame
from ._stream import End, log
from ._wire import Wire
from ._writers import SlowError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


__all__ = ["WebSocket"]

_COMPRESS_FROM: Final = 256
"""Bytes below which compression is not worth its while."""


class WebSocket(Wire):
    """A WebSocket, given to its handler.

    ``async for message in ws`` gives the messages, ``str`` or ``bytes``, until either side closes.

    Attributes:
        subprotocol: the one agreed on, or None.
    """

    def __init__(
        self, protocol: Any, handler: Callable[..., Awaitable[object]], call: Any, *args: Any
    ) -> None:
        super().__init__(protocol, *args)
        self.subprotocol: str | None = protocol.subprotocol
        self._handler = handler
        self._call: tuple[tuple[Any, ...], dict[str, Any]] = call

    # What a handler calls

    async def send(self, data: Any) -> None:
        """Send a message, and wait until there is room for more.

        Args:
            data: bytes for a binary message, ``str`` for text; anything else is sent as JSON.

        Raises:
            WebSocketClosedError: it has been closed, or the client has read nothing for 60 s.
            TypeError: JSON cannot express `data`.
            ValueError: UTF-8 cannot, as half of a surrogate pair.
            InvalidStateError: this is another event loop.
        """
        is_text = not isinstance(data, bytes | bytearray | memoryview)
        payload = text_of(data).encode() if is_text else bytes(data)
        self._check_loop()
        if not self._is_open():
            await self._refuse()
        self.sent += 1
        if len(payload) < _COMPRESS_FROM or not self._protocol.extensions:
            self._out.write(data_frame(payload, is_text=is_text))
        elif is_text:
            self._protocol.send_text(payload)
        else:
            self._protocol.send_binary(payload)
        self._flush()
        try:
            await self._out.drain()
        except SlowError:
            self.end(End.SLOW)
            raise self._closed_error() from None

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            WebSocketClosedError: it has been closed, and there are no more messages.
            InvalidStateError: this is another event loop.
        """
        self._check_loop()
        while not self._inbox:
            if not self._is_open():
                await self._refuse()
            await self._inbox.wait()
        message = self._inbox.take()
        if not (self._reading or self._inbox.is_full):
            self._look_at_unread()
        return message

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Iterate the messages until either side closes."""
        while True:
            try:
                message = await self.receive()
            except WebSocketClosedError:
                return
            yield message

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close, and wait for the peer's answer; what it has sent before can still be received.

        Args:
            code: the close code (RFC 6455, section 7.4).
            reason: at most 123 bytes of UTF-8.

        Raises:
            ValueError: a close frame cannot say that.
            InvalidStateError: this is another event loop.
        """
        self._check_loop()
        self.begin_close(code, reason)
        while not (self._lost or self.is_over):
            await self._inbox.wait()

    @property
    def close_code(self) -> int | None:
        """The close code (RFC 6455, section 7.4): the peer's, else ours; None while it is open."""
        return None if self._is_open() else self._closed_error().code

    @property
    def close_reason(self) -> str | None:
        """The reason that came with the code; None while it is open."""
        return None if self._is_open() else self._closed_error().reason

    def _check_loop(self) -> None:
        if self._task is not None and self._task.get_loop() is not asyncio.get_running_loop():
            raise InvalidStateError(
                "a WebSocket is talked to on its own event loop; from a thread, send to a group "
                "that it has joined, or call asyncio.run_coroutine_threadsafe()"
            )

    async def _refuse(self) -> None:
        # A handler that catches this and goes on can be cancelled here, and others have their turn.
        await asyncio.sleep(0)
        raise self._closed_error()

    def _closed_error(self) -> WebSocketClosedError:
        close = self._protocol.close_rcvd or self._protocol.close_sent
        return WebSocketClosedError(*((close.code, close.reason) if close else (ABNORMAL, "")))

    # How it runs, on the loop

    @property
    def _name(self) -> str:
        return str(getattr(self._handler, "__qualname__", repr(self._handler)))

    async def _run(self) -> None:
        self._out.write(self._head)
        if self._came:
            self._received(self._came)
        args, kwargs = self._call
        code = NORMAL
        try:
            await self._handler(self, *args, **kwargs)
        except WebSocketClosedError:
            pass
        except BaseException as exc:
            if not self._is_failure(exc):
                raise
            log.error("The handler %s failed on %s", self._name, self.connection, exc_info=exc)
            code, self._ending = FAILED, self._ending or End.FAILED
        self._set_limit(None)
        await self.close(code)
