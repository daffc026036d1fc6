"""`BodyReads`: who reads a request's body, when its client is told to send it, and failed reads.

A connection cannot be hijacked while its body is read, nor read when it has been hijacked.
"""

from __future__ import annotations

import copy
import threading
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from ..errors import InvalidStateError
from .multiplexed import Multiplexed

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["BodyReads", "lock"]

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_LOST: Final = "an earlier read of the request's body was broken off, and what it had read is lost"

lock = threading.Lock()
"""Guards `hijacked` and the number of readers of every exchange; held for no call."""


class BodyReads(Multiplexed):
    """The part of a request that is about its body.

    Entering it as a context is reading the body: from there to the end of the context the
    connection cannot be hijacked.

    Attributes:
        hijacked: whether the server has let go of the connection.
        waits_for_body: whether the client still waits to be told that it may send its body.
        lost: what every further read of the body raises, each a copy: one that was raised refers to
            its frames, and they to this. None while nothing of the body is lost.
    """

    __slots__ = ("_readers", "hijacked", "lost", "waits_for_body")

    def __init__(self) -> None:
        self.hijacked = False
        self.waits_for_body = False
        self.lost: Exception | None = None
        self._readers = 0

    @property
    def reads_body(self) -> bool:
        """Whether a thread is reading the request's body."""
        return self._readers > 0

    def __enter__(self) -> None:
        with lock:
            if self.hijacked:
                raise InvalidStateError("the connection has been hijacked: read from its stream")
            if self.lost is not None:
                raise copy.copy(self.lost)
            self._readers += 1
        try:
            if self.waits_for_body:
                self._answer_continue()
        except BaseException:
            self._leave()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()
        if exc is not None:
            self._note_failed(exc)

    def _note_failed(self, exc: BaseException) -> None:
        """Reading the body has failed, or was broken off: keep the connection no more.

        Where the next request begins may be unknown. So may the rest of this body: a further read
        would find less than there was, and take that for all.
        """
        self.force_close()
        is_lost = self._may_have_lost()
        error = self.read_failed(exc)
        if is_lost:
            self.lost = InvalidStateError(_LOST) if error is None else copy.copy(error)
        if error is None or error is exc:
            return
        try:
            raise error from exc
        finally:
            del error  # it refers to this frame

    def _leave(self) -> None:
        with lock:
            self._readers -= 1

    def before_response(self) -> None:
        """The head goes out next, and the client still waits to be told to send its body.

        A response of unknown length may read the body while it is sent, and then it would be too
        late to tell the client. Any other is taken for one that does without the body; as the
        client may send it all the same, the connection is closed (RFC 9110, section 10.1.1).
        """
        if self._may_read_yet():
            self._answer_continue()
        else:
            self.force_close()

    def _answer_continue(self) -> None:
        """Tell the client to send its body, unless the response has gone out."""
        self.waits_for_body = False
        if not self._has_sent_head():
            self._send(_CONTINUE)

    # What each server knows

    @abstractmethod
    def read_failed(self, exc: BaseException) -> Exception | None:
        """Reading the body has raised `exc`: return what the view is to get in its place, if any.

        That may be `exc` itself, which further reads raise, too.
        """

    @abstractmethod
    def force_close(self) -> None:
        """Have the response say ``Connection: close``, and the connection closed after it."""

    @abstractmethod
    def _may_read_yet(self) -> bool:
        """Tell whether the response is one of `STREAM_STATUSES` and has no Content-Length."""

    @abstractmethod
    def _has_sent_head(self) -> bool:
        """Tell whether the response's head has been sent."""

    @abstractmethod
    def _is_in_chunked_body(self) -> bool:
        """Tell whether a chunked body has been read in part, the rest being in a parser."""

    def _may_have_lost(self) -> bool:
        """Tell whether a read of the body that has failed may have lost what it had read."""
        return self._is_in_chunked_body()

    @abstractmethod
    def _send(self, data: bytes) -> None:
        """Write `data` to the client."""
