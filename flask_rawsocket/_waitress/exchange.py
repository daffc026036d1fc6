"""A request and its response as waitress has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._connection import exchange
from ..errors import InvalidStateError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse

    from .task import Task

__all__ = ["Exchange"]


class Exchange(exchange.Exchange):
    """The request that a task serves. Its body has been read by then.

    Args:
        task: whose request.
    """

    __slots__ = ("_catching", "_caught", "_task", "body")

    body: Any
    """The file that the request's body is in; None until the environ is made."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.body = None
        self._task = task
        self._catching = False
        self._caught: Any = None

    def noting(self, start_response: StartResponse) -> StartResponse:
        """Return `start_response` such that a head may be caught here."""

        def starting(status: str, headers: Any, *exc_info: Any) -> Any:
            if self._catching:
                self._caught = status, headers
                return self._refuse
            write = start_response(status, headers, *exc_info)

            def writing(data: bytes) -> object:
                if self.hijacked:
                    self._refuse(data)
                return write(data)

            return writing

        return starting

    def _refuse(self, _data: bytes) -> None:
        raise InvalidStateError("the connection has been hijacked: write to its stream")

    def announced_length(self) -> int | None:
        """Return the Content-Length of the application's response; None if it has not said one."""
        length: int | None = self._task.content_length
        return length

    def status(self) -> int | None:
        """Return the status of the application's response; None if it has not said one."""
        code = self._task.status.partition(" ")[0] if self._task.complete else ""
        return int(code) if code.isdecimal() else None

    def force_close(self) -> None:
        """Have the response say ``Connection: close``, and the connection closed after it."""
        self._task.set_close_on_finish()

    def version(self) -> str:
        """Return the request's version of HTTP."""
        return f"HTTP/{self._task.version}"

    def let_go(self) -> None:
        """Do nothing: the channel has let go of the socket already."""

    def no_response(self) -> Iterable[bytes]:
        """Return nothing; the task sends no head either."""
        self._task.content_length = None
        return ()

    def refusal(self) -> Exception | None:
        """Return the reason why the server cannot let go of the connection now, or None."""
        found = super().refusal()
        if isinstance(found, UnsupportedError):
            return UnsupportedError(
                "the chunked body was read in part, or not at all, and waitress has taken it "
                "apart: read it whole, then hijack"
            )
        return found

    def read_failed(self, exc: BaseException) -> None:
        """Return nothing: a body that has been read does not fail."""

    def complain(self, text: str, exc: BaseException) -> None:
        """Log that the view of a hijacked connection has failed."""
        self._task.logger.error("%s: %r", text, exc, exc_info=exc)

    def has_begun(self) -> bool:
        begun: bool = self._task.complete
        return begun

    def _catch_head(self, begin: Any) -> Any:
        self._catching = True
        try:
            begin()
        finally:
            self._catching = False
        return self._caught

    def _may_read_yet(self) -> bool:
        return False  # nobody waits to be told: waitress does so before it calls the application

    def _has_sent_head(self) -> bool:
        sent: bool = self._task.wrote_header
        return sent

    def _is_in_chunked_body(self) -> bool:
        # It has been decoded, so its rest is not to be had as it came.
        return bool(self._task.request.chunked and self._body_left())

    def _body_left(self) -> bool:
        if self.body is None:
            return False
        here = self.body.tell()
        left = bool(self.body.read(1))
        self.body.seek(here)
        return left

    def _take_read_ahead(self) -> bytes:
        unread: bytes = self.body.read() if self.body is not None else b""
        return unread + self._task.channel.let_go()

    def _send(self, data: bytes) -> None:
        raise NotImplementedError
