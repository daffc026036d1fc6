"""A request and its response where no server has them: the test calls the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._connection import exchange

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["Exchange"]


class Exchange(exchange.Exchange):
    """The request in hand of a `RawSocketClient`.

    Args:
        environ: the request's.
        send: writes to the client.
    """

    __slots__ = (
        "_body",
        "_head",
        "_send_bytes",
        "answers_in_http",
        "client_was_gone",
    )

    answers_in_http: bool
    """Whether the owner of a hijacked connection begins with the head of a response."""

    client_was_gone: bool
    """Whether the application has been stopped because its client is gone."""

    def __init__(self, environ: WSGIEnvironment, send: Callable[[bytes], object]) -> None:
        super().__init__()
        self.waits_for_body = environ.get("HTTP_EXPECT", "").lower() == "100-continue"
        self.answers_in_http = "HTTP_UPGRADE" in environ
        self.client_was_gone = False
        self._head: tuple[str, list[tuple[str, str]]] | None = None
        self._body = environ["wsgi.input"] if environ.get("CONTENT_LENGTH") else None
        self._send_bytes = send

    def noting(self, start_response: StartResponse) -> StartResponse:
        """Return `start_response` such that what it is told is noted here."""

        def starting(status: str, headers: Any, *exc_info: Any) -> Any:
            self._head = status, headers
            return start_response(status, headers, *exc_info)

        return starting

    def header(self, name: str) -> str | None:
        """Return a field of the response's head; None if there is none."""
        fields = self._head[1] if self._head is not None else ()
        return next((value for key, value in fields if key.lower() == name), None)

    def has_body(self, method: str) -> bool:
        """Tell whether the response to a request of `method` has a body."""
        return method != "HEAD" and self.status() not in exchange.WITHOUT_BODY

    def client_is_gone(self) -> None:
        self.client_was_gone = True

    def version(self) -> str:
        """Return the version of HTTP: what asks for it is about to answer in it."""
        self.answers_in_http = True
        return super().version()

    def announced_length(self) -> int | None:
        length = self.header("content-length")
        return None if length is None else int(length)

    def read_failed(self, exc: BaseException) -> None:
        """Let the view have it."""

    def force_close(self) -> None:
        """Do nothing: the client asks the connection."""

    def let_go(self) -> None:
        """Do nothing: nobody touches the connection."""

    def no_response(self) -> tuple[bytes, ...]:
        return ()

    def complain(self, text: str, exc: BaseException) -> None:  # noqa: ARG002
        """Fail the test."""
        raise exc

    def has_begun(self) -> bool:
        return self._head is not None

    def status(self) -> int | None:
        return None if self._head is None else int(self._head[0].split(None, 1)[0])

    def _catch_head(self, begin: Callable[[], object]) -> Any:
        begin()
        head, self._head = self._head, None
        return head

    def _may_read_yet(self) -> bool:
        return self.status() in exchange.STREAM_STATUSES and self.announced_length() is None

    def _has_sent_head(self) -> bool:
        return self._head is not None

    def _is_in_chunked_body(self) -> bool:
        return False

    def _take_read_ahead(self) -> bytes:
        data: bytes = b"" if self._body is None else self._body.read()
        return data

    def _send(self, data: bytes) -> None:
        self._send_bytes(data)
