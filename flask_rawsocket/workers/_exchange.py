"""`Exchange`: a request and its response as gunicorn has them, and how to get them off the socket.

This file knows where gunicorn keeps what it has read ahead: in the parser's unreader, and in the
request's body.
"""

from __future__ import annotations

import inspect
from typing import Any, Final, NoReturn

from gunicorn.http import message, wsgi
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.unreader import Unreader

from ..errors import InvalidStateError, UnsupportedError

__all__ = ["SEAMS", "Exchange", "HTTP2Exchange"]

_NONE: Any = None
_RESPONSE: Final = wsgi.Response(_NONE, _NONE, _NONE)
_CHUNKED: Final = ChunkedReader(_NONE, _NONE)

SEAMS: Final = (
    (message.Message, "force_close"),
    (_RESPONSE, "chunked"),
    (_RESPONSE, "headers_sent"),
    (_RESPONSE, "response_length"),
    (_RESPONSE, "sock"),
    (_RESPONSE, "status"),
    (Unreader(), "buf"),
    (Body(_NONE), "buf"),
    (Body(_NONE), "reader"),
    (_CHUNKED, "buf"),
    (_CHUNKED, "parser"),
)
"""What we rely on here; for attributes that an object gets when it is made, such an object."""

_MAY_STREAM = frozenset(range(200, 300)) - {204, 205}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """The request in hand on one connection.

    Attributes:
        taken: whether the connection has been taken from the server.
        waits_for_body: whether the client still waits to be told that it may send its body.
        start_response: gunicorn's own, through which its response is found.
    """

    __slots__ = ("_req", "_sock", "start_response", "taken", "waits_for_body")

    def __init__(self, req: Any, sock: Any) -> None:
        self._req = req
        self._sock = sock
        self.start_response: Any = None
        self.taken = False
        self.waits_for_body = getattr(req, "_expected_100_continue", False)
        if self.waits_for_body:
            # gunicorn would answer at once, and a view that hijacks wants no answer sent.  It is
            # sent when the body is first read, as RFC 9110, section 10.1.1 means it.
            req._expected_100_continue = False
            req.body.reader = _ContinueFirst(self, req.body)

    @property
    def begun(self) -> bool:
        """Whether the application has begun its response, or has taken the connection instead."""
        return self.taken or self.start_response.__self__.status is not None

    def force_close(self) -> None:
        """Have the response say ``Connection: close``, and the connection closed after it."""
        self._req.force_close()

    def refusal(self) -> Exception | None:
        """Give the reason why the connection cannot be let go of now, or None."""
        if self.taken:
            return InvalidStateError("the connection has been taken from the server already")
        if self.start_response is None or self.begun:
            return InvalidStateError("the response has begun: hijack the connection before")
        reader = getattr(self._req.body, "reader", None)
        if _is_amid(reader):
            return UnsupportedError(
                "a chunked body has been read in part: read it whole, or hijack before"
            )
        return None

    def release(self) -> bytes:
        """Let go of the socket, and give what was read ahead from it."""
        self.taken = True
        response = self.start_response.__self__
        response.sock = _TAKEN
        response.headers_sent = True
        self._req.force_close()
        body = self._req.body
        leading = _take(body) + _take(body.reader) + _take(self._req.unreader)
        body.reader = _TAKEN
        return leading

    def let_go(self) -> None:
        """The view is done with: leave gunicorn an empty response, of which it sends nothing.

        Its access log says 101, whatever the new owner has said on the wire.
        """
        response = self.start_response.__self__
        response.status = "101 Switching Protocols"
        response.headers_sent = True
        response.chunked = False
        ignore_server = getattr(self._sock, "ignore_server", None)
        if ignore_server is not None:  # TLS: the socket could not move
            ignore_server()

    def before_response(self) -> None:
        """The head goes out next, and the client still waits to be told to send its body.

        A stream may yet read the body, and then it would be too late to tell the client.  Any
        other response is taken for one that does without; as the client may send it all the same,
        the connection is closed.
        """
        response = self.start_response.__self__
        is_stream = response.status_code in _MAY_STREAM and response.response_length is None
        if is_stream and not self.taken:
            self.answer_continue()
        else:
            self.force_close()

    def answer_continue(self) -> None:
        """Tell the client to send its body, unless the response has gone out."""
        self.waits_for_body = False
        if not self.start_response.__self__.headers_sent:
            self._sock.sendall(_CONTINUE)


class HTTP2Exchange:
    """Stands where an HTTP/1 request would: a stream cannot take the connection of all."""

    taken = False
    waits_for_body = False
    start_response: Any = None
    begun = True  # as far as a hijack is concerned

    def force_close(self) -> None:
        """Refuse: HTTP/2 has no ``Connection`` header (RFC 9113, section 8.2.2)."""
        raise UnsupportedError("close_after_response is not supported on HTTP/2")

    def refusal(self) -> Exception:
        """Give the reason why the connection cannot be let go of."""
        return UnsupportedError("an HTTP/2 connection is shared by its streams: no hijack")

    def release(self) -> NoReturn:
        """Refuse, as `refusal` does."""
        raise self.refusal()


class _ContinueFirst:
    """A body's reader that answers ``100 Continue`` before it reads for the first time."""

    def __init__(self, exchange: Exchange, body: Any) -> None:
        self._exchange = exchange
        self._body = body
        self.reader = body.reader

    def read(self, size: int) -> bytes:
        self._body.reader = self.reader
        if self._exchange.waits_for_body:
            self._exchange.answer_continue()
        data: bytes = self.reader.read(size)
        return data


class _Taken:
    """Stands where gunicorn had the socket or the body's reader, and refuses to be one."""

    def read(self, _size: int) -> NoReturn:
        raise InvalidStateError("the connection has been taken over: read from its stream")

    def sendall(self, _data: bytes) -> NoReturn:
        raise InvalidStateError("the connection has been taken over: write to its stream")

    send = sendfile = sendall


_TAKEN = _Taken()


def _is_amid(reader: Any) -> bool:
    """Tell whether `reader` is amid a chunked body: the rest may be inside its generator."""
    return (
        isinstance(reader, ChunkedReader)
        and reader.parser is not None
        and inspect.getgeneratorstate(reader.parser) != inspect.GEN_CREATED
    )


def _take(holder: Any) -> bytes:
    """Give what is in a buffer of gunicorn's, and leave it empty."""
    buffer = getattr(holder, "buf", None)
    if buffer is None:
        return b""
    data: bytes = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return data
