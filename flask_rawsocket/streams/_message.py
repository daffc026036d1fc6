"""`Message`: what a group passes on, encoded once for all of its members."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ._event import Event, encode, text_of

__all__ = ["Message", "chunk"]


def chunk(data: bytes) -> bytes:
    """Return `data`, which is not empty, as a chunk (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Message:
    """One message to a group. What it is on the wire is worked out once, when it is first needed.

    Args:
        data: as it was given to `Group.send`.
        event: the name of the Server-Sent Event.
        id: its id; None has each process number it.

    Attributes:
        payload: what a WebSocket carries, a text message in UTF-8.
        is_text: whether it is a text message.
        number: its place among the messages of its group in this process.
        close: where it says that the group closes, the WebSocket close code and reason.

    Raises:
        TypeError: JSON cannot express `data`.
        ValueError: UTF-8 cannot, as half of a surrogate pair; or the name or the id of the event is
            not one line.
    """

    def __init__(
        self,
        data: Any,
        event: str | None = None,
        id: str | None = None,  # noqa: A002  the field's name
        *,
        close: tuple[int, str] | None = None,
    ) -> None:
        self.data = data
        self.event = event
        self.id = id
        self.close = close
        self.number = 0
        is_binary = isinstance(data, bytes | bytearray | memoryview)
        self.is_text = not is_binary
        self.payload = bytes(data) if is_binary else text_of(data).encode()
        encode(Event("", event, id))  # an invalid name or id is its sender's failure

    @cached_property
    def itself(self) -> Message:
        """It as it is, for a coroutine."""
        return self

    @cached_property
    def size(self) -> int:
        """How many bytes it takes, roughly, while it waits."""
        return len(self.payload) + 64

    @cached_property
    def sse(self) -> bytes:
        """It as a Server-Sent Event; bytes are taken for UTF-8."""
        return encode(Event(self.payload.decode(errors="replace"), self.event, self.id))

    @cached_property
    def sse_chunk(self) -> bytes:
        """The same as a chunk of HTTP/1.1."""
        return chunk(self.sse)

    @cached_property
    def frame(self) -> bytes:
        """It as a WebSocket frame, which is not compressed: any connection takes that.

        A message may go uncompressed although compression was agreed on (RFC 7692, section 6).
        """
        from ._handshake import data_frame  # noqa: PLC0415  `websockets` is optional

        return data_frame(self.payload, is_text=self.is_text)
