"""A request and its response as gunicorn has them, and how to get them off the socket.

This file knows where gunicorn keeps what it has read ahead: in the parser's unreader, and in the
request's body.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn

from gunicorn.http import message, wsgi
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import Unreader

from .._connection import exchange
from .._sockets.duties import EMPTY_LINES
from ..errors import InvalidStateError
from ._body import DRAINABLE, WholeBody, http_error, unread

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._connection.life import Life

__all__ = [
    "LEAVE_TIMEOUT",
    "SEAMS",
    "Exchange",
    "begins_request",
    "is_left",
]

_NONE: Any = None
_RESPONSE: Final = wsgi.Response(_NONE, _NONE, _NONE)
_CHUNKED: Final = ChunkedReader(_NONE, _NONE)

SEAMS: Final = (
    (message.Message, "force_close"),
    (_RESPONSE, "chunked"),
    (_RESPONSE, "headers_sent"),
    (_RESPONSE, "response_length"),
    (_RESPONSE, "sent"),
    (wsgi.Response, "start_response"),
    (_RESPONSE, "sock"),
    (_RESPONSE, "status"),
    (Unreader(), "buf"),
    (Body(_NONE), "buf"),
    (Body(_NONE), "reader"),
    (LengthReader(_NONE, 0), "length"),
    (_CHUNKED, "buf"),
    (_CHUNKED, "parser"),
)
"""What we rely on here; for attributes that an object gets when it is made, such an object."""

_HTTP_1_1: Final = (1, 1)
_KEEPS_WHAT_IT_READ: Final = "read_ahead" in inspect.signature(Unreader.read).parameters
"""Whether what a read that fails has read of a body is there for the next one: gunicorn 27."""

_CONNECTION_LENGTH: Final = len("Connection")
_SHORT: Final = "%r: the response to %s is shorter than its Content-Length, %d"


LEAVE_TIMEOUT: Final = 0.1
"""The seconds in which a thread to which a view has left its connection can say goodbye."""


class Exchange(exchange.Exchange):
    """The request in hand on one connection.

    Args:
        req: gunicorn's request.
        sock: the tracked socket that it came from.
        log: gunicorn's logger.
    """

    __slots__ = ("_has_body", "_is_file", "_log", "_req", "_sock", "is_left", "response")

    is_left: bool
    """Whether the application has made gunicorn forget the response; see `Application`."""

    response: Any
    """gunicorn's own; None until the application is called."""

    _has_body: bool
    """Whether the request may have one."""

    _is_file: bool
    """Whether its body is a file, which the kernel may send: nobody counts the bytes then."""

    def __init__(self, req: Any, sock: Any, log: Any) -> None:
        # Not by super(): one is made for each request.
        self.thread = threading.get_ident()
        self.hijacked = False
        self.waits_for_body = False
        self.lost = None
        self.logged_status = exchange.SWITCHING
        self._readers = 0
        self._req = req
        self._sock = sock
        self._log = log
        self.response = None
        self._is_file = self.is_left = False
        if getattr(req, "_expected_100_continue", False):
            # gunicorn would answer before the view is called, and one that hijacks wants no answer
            # sent. Ours is sent when the body is first read (RFC 9110, section 10.1.1).
            req._expected_100_continue = False  # noqa: SLF001  gunicorn's mark of it
            self.waits_for_body = req.version >= _HTTP_1_1
        body = req.body
        reader = body.reader
        self._has_body = type(reader) is not LengthReader or reader.length > 0
        if self._has_body and type(reader) is LengthReader:
            body.reader = WholeBody(req.unreader, reader.length)

    def start_response(self, status: str, headers: Any, *exc_info: Any) -> Any:
        """Begin the response as gunicorn does, which drops the application's own ``Connection``.

        Its head says that the connection will be closed where that is known: the application wants
        it, or what is unread of the request is too much to be read.
        """
        for name, value in headers:
            if len(name) == _CONNECTION_LENGTH and _says_close(name, value):
                self.force_close()
        if self._has_body and unread(self._req.body) >= DRAINABLE:
            self.force_close()
        return self.response.start_response(status, headers, *exc_info)

    def announced_length(self) -> int | None:
        """Return the Content-Length of the application's response; None if it has not said one."""
        length: int | None = self.response.response_length
        return length

    def status(self) -> int | None:
        """Return the status of the application's response; None if it has not said one."""
        status: int | None = getattr(self.response, "status_code", None)
        return status

    def sends_file(self, wrapper: Any) -> None:
        """The response's body is a file; one that is too short for the head does not keep."""
        self._is_file = True
        length = self.response.response_length
        if length is None:
            return
        with contextlib.suppress(AttributeError, OSError):  # no file that the kernel could send
            descriptor = wrapper.filelike.fileno()
            here = os.lseek(descriptor, 0, os.SEEK_CUR)
            if os.fstat(descriptor).st_size - here < length:
                self._log.error(_SHORT, self._sock.connection, self._req.uri, length)
                self.force_close()

    def is_short(self) -> bool:
        """Tell whether less was sent than the head said; what comes next would be read as the rest.

        A line in the log says so: it is the application's failure.
        """
        response = self.response
        length = response.response_length
        if length is None or response.sent >= length or self.hijacked:
            return False
        if self._req.method == "HEAD" or response.status_code in exchange.WITHOUT_BODY:
            return False
        if self._is_file and not response.sent:
            return False  # `sends_file` has seen to it
        self._log.error(_SHORT, self._sock.connection, self._req.uri, length)
        return True

    def force_close(self) -> None:
        """Have the response say ``Connection: close``, and the connection closed after it."""
        self._req.force_close()

    def version(self) -> str:
        """Return the request's version of HTTP."""
        return f"HTTP/{self._req.version[0]}.{self._req.version[1]}"

    def let_go(self) -> None:
        """Leave gunicorn an empty response, of which it sends nothing; it is logged."""
        self.response.status = self.logged_status
        self.response.headers_sent = True
        self.response.chunked = False
        self._sock.ignore_server()

    def no_response(self) -> Iterable[bytes]:
        """Return an empty body."""
        return ()

    def read_failed(self, exc: BaseException) -> Exception | None:
        """Return a 4xx where the client has failed to send its body whole, in time and in form."""
        return http_error(exc)

    def complain(self, text: str, exc: BaseException) -> None:
        """Log that the view of a hijacked connection has failed."""
        self._log.error("%s: %r", text, exc, exc_info=exc)

    def has_begun(self) -> bool:
        return self.response is None or self.response.status is not None

    def _catch_head(self, begin: Any) -> Any:
        response, self.response = self.response, exchange.CaughtHead()
        try:
            begin()
            return self.response.head
        finally:
            self.response = response

    def _may_read_yet(self) -> bool:
        response = self.response
        return (
            response.status is not None
            and response.status_code in exchange.STREAM_STATUSES
            and response.response_length is None
        )

    def _has_sent_head(self) -> bool:
        return bool(self.response.headers_sent)

    def _is_in_chunked_body(self) -> bool:
        # The rest may be inside of the reader's generator.
        reader = getattr(self._req.body, "reader", None)
        return (
            isinstance(reader, ChunkedReader)
            and reader.parser is not None
            and inspect.getgeneratorstate(reader.parser) != inspect.GEN_CREATED
        )

    def _may_have_lost(self) -> bool:
        return self._is_in_chunked_body() or not _KEEPS_WHAT_IT_READ

    def _take_read_ahead(self) -> bytes:
        self.response.sock = _HIJACKED
        self.response.headers_sent = True
        self._req.force_close()
        body = self._req.body
        leading = _take(body) + _take(body.reader) + _take(self._req.unreader)
        body.reader = _HIJACKED
        return leading

    def _send(self, data: bytes) -> None:
        self._sock.sendall(data)


class _Hijacked:
    """Stands where gunicorn had the socket or the body's reader, and refuses to be one."""

    def read(self, _size: int) -> NoReturn:
        raise InvalidStateError("the connection has been hijacked: read from its stream")

    def sendall(self, _data: bytes) -> NoReturn:
        raise InvalidStateError("the connection has been hijacked: write to its stream")

    send = sendfile = sendall


_HIJACKED: Final = _Hijacked()


def begins_request(unreader: Any) -> bool:
    """Tell whether the beginning of a request has been read ahead, and drop empty lines before it.

    Args:
        unreader: gunicorn's, of a connection between two requests.
    """
    if not unreader.buf.tell():
        return False
    data = _take(unreader).lstrip(EMPTY_LINES)
    unreader.buf.write(data)
    return bool(data)


def is_left(life: Life) -> bool:
    """Tell whether the view of the request in hand has left the connection to another thread."""
    return isinstance(life.exchange, Exchange) and life.exchange.is_left


def _says_close(name: str, value: str) -> bool:
    options = [each.strip(" \t") for each in value.lower().split(",")]
    return name.lower() == "connection" and "close" in options


def _take(holder: Any) -> bytes:
    """Return what is in a buffer of gunicorn's, and leave it empty."""
    buffer = getattr(holder, "buf", None)
    if buffer is None:
        return b""
    data: bytes = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return data
