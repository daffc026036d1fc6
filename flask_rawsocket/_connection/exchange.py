"""`Exchange`: the request in hand and its response, as a server of ours has them.

Here is what every server does alike: when a connection cannot be hijacked, who may read the
request's body, and when a client that waits for ``100 Continue`` is told to go on. What only one
server knows (where its bytes are, how it writes) is in its own subclass.
"""

from __future__ import annotations

import enum
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..errors import InvalidStateError, UnsupportedError
from .body_reads import BodyReads, lock

if TYPE_CHECKING:
    import asyncio
    import weakref
    from collections.abc import Awaitable, Callable, Iterable
    from wsgiref.types import StartResponse

    Headers = list[tuple[str, str]]

__all__ = [
    "STREAM_STATUSES",
    "SWITCHING",
    "WITHOUT_BODY",
    "CaughtHead",
    "Exchange",
    "Phase",
    "StreamHandler",
]

StreamHandler: TypeAlias = (
    "Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]"
)
"""What serves a connection on the event loop."""

SWITCHING: Final = "101 Switching Protocols"

STREAM_STATUSES: Final = frozenset(range(200, 300)) - {204, 205}
"""The statuses of a response whose application may read the request's body while it is sent."""

WITHOUT_BODY: Final = frozenset({*range(100, 200), 204, 304})
"""The statuses of a response that has no body, whatever its Content-Length says."""


class Phase(enum.Enum):
    """How far a request has come."""

    NOT_BEGUN = "the application has not begun its response"
    BEGUN = "the application has begun its response"
    HIJACKED = "the server has let go of the connection"


class CaughtHead:
    """Stands where a server's response is, and keeps the head that it is told."""

    head: tuple[str, Headers] | None = None

    def start_response(self, status: str, headers: Headers, *_exc_info: object) -> None:
        """Keep the head."""
        self.head = status, headers


class Exchange(BodyReads, ABC):
    """One request and its response.

    Attributes:
        thread: the server's, which serves the request.
        logged_status: what the access log is to say of a hijacked connection.
    """

    __slots__ = (
        "logged_status",
        "stream",
        "stream_was_forgotten",
        "thread",
        "view",
    )

    stream: weakref.ref[Any] | None
    """What a hijack has returned. Set by the tracker, and only then; None where a loop has it."""

    view: str | None
    """The name of the view that has hijacked, where it has one. Set with `stream`."""

    stream_was_forgotten: bool
    """Whether the socket of that was forgotten. Set by its finalizer, and only then."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()
        self.logged_status = SWITCHING

    @property
    def phase(self) -> Phase:
        """How far the request has come."""
        if self.hijacked:
            return Phase.HIJACKED
        return Phase.BEGUN if self.has_begun() else Phase.NOT_BEGUN

    def refusal(self) -> Exception | None:
        """Return the reason why the server cannot let go of the connection now, or None."""
        if self.phase is Phase.HIJACKED:
            return InvalidStateError("the server has let go of the connection already")
        if self.phase is Phase.BEGUN:
            return InvalidStateError("the response has begun: hijack the connection before")
        if self._readers:
            return InvalidStateError("another thread is reading the request's body")
        if self.lost is not None:
            return UnsupportedError(
                "a read of the request's body has failed, and what had come of it is lost"
            )
        if self._is_in_chunked_body():
            return UnsupportedError(
                "a chunked body has been read in part: read it whole, or hijack before"
            )
        return None

    def hand_over(self) -> bytes:
        """Have the server let go of the connection, and return what it had read ahead.

        Raises:
            RawSocketError: as `refusal` says; nothing has changed.
        """
        with lock:
            refusal = self.refusal()
            if refusal is not None:
                raise refusal
            self.hijacked = True
        return self._take_read_ahead()

    def status(self) -> int | None:
        """Return the status of the application's response; None if it has not said one."""
        return None

    def version(self) -> str:
        """Return the request's version of HTTP."""
        return "HTTP/1.1"

    def is_cut(self) -> bool:
        """Tell whether the response would be cut if the connection ended now."""
        return not self.hijacked and self._has_sent_head()

    def head_of(
        self, start_response: StartResponse, status: str, headers: Headers
    ) -> tuple[str, Headers]:
        """Return the head that `start_response`, with all that wraps it, would have sent.

        For a response that takes the connection over: nothing has begun after this.

        Args:
            start_response: what the application was called with, or what a middleware made of it.
            status: such as ``200 OK``; the access log will say so.
            headers: the header fields.
        """
        found = self._catch_head(lambda: start_response(status, headers)) or (status, headers)
        self.logged_status = found[0]
        return found

    # What each server knows

    @abstractmethod
    def let_go(self) -> None:
        """The view of a hijacked connection is done: have the server do nothing more with it."""

    @abstractmethod
    def no_response(self) -> Iterable[bytes]:
        """Return what makes the server send nothing, or raise it."""

    @abstractmethod
    def complain(self, text: str, exc: BaseException) -> None:
        """Log that the view of a hijacked connection has failed."""

    def announced_length(self) -> int | None:
        """Return the Content-Length of the application's response; None if it has not said one."""
        return None

    def view_failed(self, exc: BaseException) -> None:
        """Raise what a view has raised, unless it had hijacked: then nobody but the log hears it.

        Raises:
            BaseException: `exc`.
        """
        if not self.hijacked:
            raise exc
        if not isinstance(exc, Exception):
            self.let_go()
            raise exc
        self.complain("A view failed that had hijacked its connection", exc)

    @abstractmethod
    def has_begun(self) -> bool:
        """Tell whether the application has begun its response."""

    def _catch_head(self, begin: Callable[[], object]) -> tuple[str, Headers] | None:
        """Call `begin`; return what the server's ``start_response`` was told, and take it back."""
        raise NotImplementedError

    @abstractmethod
    def _take_read_ahead(self) -> bytes:
        """Return what the server has read ahead, in order, and read and write no more."""
