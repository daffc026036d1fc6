"""`Assembler`: makes messages of WebSocket frames (RFC 6455, section 5.4)."""

from __future__ import annotations

import codecs
from typing import Any

from ._handshake import Opcode

__all__ = ["Assembler"]


class Assembler:
    """Puts the fragments of messages together, whose limits the protocol keeps."""

    __slots__ = ("_decoder", "_fragments")

    def __init__(self) -> None:
        self._fragments: list[Any] = []
        self._decoder: codecs.IncrementalDecoder | None = None

    def take(self, frame: Any) -> str | bytes | None:
        """Take a frame; return the message that it completes, or None.

        Raises:
            UnicodeDecodeError: a text is not UTF-8, which shows before its last fragment.
        """
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            is_text = frame.opcode is Opcode.TEXT
            self._decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
            self._fragments = []
        elif frame.opcode is not Opcode.CONT:
            return None
        data = bytes(frame.data)
        decoder = self._decoder
        self._fragments.append(data if decoder is None else decoder.decode(data, frame.fin))
        if not frame.fin:
            return None
        fragments, self._fragments, self._decoder = self._fragments, [], None
        empty: Any = b"" if decoder is None else ""
        message: str | bytes = empty.join(fragments)
        return message
