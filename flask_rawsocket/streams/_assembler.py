"""`Assembler`: makes messages of WebSocket frames (RFC 6455, section 5.4)."""

from __future__ import annotations

import codecs
from typing import Any

from ._handshake import Opcode

__all__ = ["Assembler"]


class Assembler:
    """Puts the fragments of messages together, whose limits the protocol keeps.

    In one buffer, as a client chooses into how many fragments it cuts a message: none, however
    small or empty, takes more than its bytes.
    """

    __slots__ = ("_buffer", "_decoder")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._decoder: codecs.IncrementalDecoder | None = None

    def take(self, frame: Any) -> str | bytes | None:
        """Take a frame; return the message that it completes, or None.

        Raises:
            UnicodeDecodeError: a text is not UTF-8, which shows before its last fragment.
        """
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                return frame.data.decode() if is_text else bytes(frame.data)
            self._decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
        elif frame.opcode is not Opcode.CONT:
            return None
        self._buffer += frame.data
        decoder = self._decoder
        if decoder is not None:
            decoder.decode(frame.data, frame.fin)  # a failure is not to wait for the end
        if not frame.fin:
            return None
        buffer, self._buffer, self._decoder = self._buffer, bytearray(), None
        return bytes(buffer) if decoder is None else buffer.decode()
