"""`Response`: gunicorn's, whose head goes out together with the first bytes of the body.

gunicorn writes the head by itself. With ``TCP_NODELAY`` that is a segment of its own, and under TLS
a record; and each costs both sides a system call.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from gunicorn.http import wsgi

__all__ = ["Response", "Wire"]

RECORD: Final = 16384
"""How much is joined at most: what a TLS record holds (RFC 8446, section 5.1)."""

_MOST_HELD: Final = 1048576
"""The bytes of a response in several parts that may wait for room in memory."""

_MORE: Final = getattr(socket, "MSG_MORE", 0)
"""The kernel waits for what follows before it sends (send(2)); 0 where there is no such flag."""


class Wire:
    """What a response has for its socket: every byte of it goes through here.

    The first bytes are the head. They wait for what is sent next, or for `flush`.

    Args:
        sock: the connection's socket.
    """

    __slots__ = ("_is_due", "_sock", "head", "may_leave")

    head: bytes | None
    """The head, while it waits."""

    may_leave: bool
    """Whether what is sent next is the end of a response that is complete, or a part of one that is
    small: a worker that has a poller need not wait until there is room for it."""

    held = 0
    """The bytes that wait for room."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._is_due = True
        self.head = None
        self.may_leave = False

    def sendall(self, data: bytes) -> None:
        """Send `data`, behind the head if that waits; hold it if it is the head.

        Raises:
            OSError: as ``socket.sendall`` does.
        """
        if self._is_due:
            self._is_due = False
            self.head = data
            return
        head = self.head
        if head is None:
            self._send(data)
            return
        self.head = None
        room = RECORD - len(head)
        if len(data) <= room:
            self._send(head + data)
            return
        rest = memoryview(data)  # not to be copied: it may be any number of megabytes
        room = max(room, 0)
        self._send(head + rest[:room])
        self._send(rest[room:])

    def _send(self, data: bytes | memoryview) -> None:
        self._sock.sendall(data)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> Any:
        """Send a file behind the head, as ``socket.sendfile`` does; not under TLS.

        Raises:
            OSError: as ``socket.sendfile`` does.
        """
        head, self.head = self.head, None
        if head is not None:
            self._sock.sendall(head, _MORE)
        return self._sock.sendfile(file, offset=offset, count=count)

    def flush(self) -> None:
        """Send the head, if it still waits.

        Raises:
            OSError: as ``socket.sendall`` does.
        """
        head, self.head = self.head, None
        if head is not None:
            self._send(head)

    def drop_head(self) -> None:
        """Forget a head that waits: another one will come."""
        self.head = None
        self._is_due = True


class Response(wsgi.Response):
    """Stands where gunicorn makes its responses, in the worker's process.

    A head waits for no later call: one that is written with no bytes behind it goes out at once.
    """

    sock: Any
    """A `Wire`; after a hijack what refuses to be one."""

    wire_class = Wire

    is_complete = False
    """Whether all of it has been written, its end included."""

    def __init__(self, req: Any, sock: Any, cfg: Any) -> None:
        wire: Any = self.wire_class(sock)
        super().__init__(req, wire, cfg)
        self._wire: Wire = wire

    def write(self, data: bytes) -> None:
        """Write a part of the body; before the first one, the head.

        Raises:
            TypeError: `data` is not bytes.
            OSError: the client cannot be written to.
        """
        length = self.response_length
        if length is not None:
            wire, size = self._wire, len(data)
            wire.may_leave = self.sent + size >= length or wire.held + size <= _MOST_HELD
        if self.headers_sent:
            super().write(data)
        else:
            self._with_head(super().write, data)

    def write_file(self, respiter: Any) -> None:
        """Write a body that is a file."""
        if self.headers_sent:
            super().write_file(respiter)
        else:
            self._with_head(super().write_file, respiter)

    def close(self) -> None:
        """Write the head, if nothing has been written, and the end of a chunked body."""
        self._wire.may_leave = True
        if self.headers_sent:
            super().close()
        else:
            self._with_head(super().close)
        self.is_complete = True

    def _with_head(self, write: Any, *args: Any) -> None:
        """Call `write`, which writes the head first, and see that the head goes out."""
        wire = self._wire
        try:
            write(*args)
        except BaseException:
            if wire.head is not None:
                # It is not too late for another response, one that says what has failed.
                wire.drop_head()
                self.headers_sent = False
            raise
        if wire.head is not None:
            wire.flush()
