"""`Running`: a request that is being served while the test goes on."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import TYPE_CHECKING

from ._peer import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from werkzeug.test import TestResponse

    from .._connection.connection import Connection
    from ._client import RawSocketClient
    from ._peer import Peer

__all__ = ["Running"]


class Running:
    """A request of `RawSocketClient.start`; leaving it as a context waits for its end.

    Attributes:
        peer: the client's end of its connection.
        conn: the connection as the application has it.
    """

    def __init__(self, client: RawSocketClient, call: Callable[[], TestResponse]) -> None:
        self._client = client
        self.peer: Peer = client.peer
        self.conn: Connection = client.conn
        self._call = call
        self._response: TestResponse | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="rawsocket-request", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if exc is None:
            self.wait()
        else:  # which is what the test is to fail with
            self.peer.leave()
            self._thread.join(TIMEOUT)

    def wait(self, timeout: float = TIMEOUT) -> None:
        """Wait until the view, and its response, has ended.

        Args:
            timeout: in seconds.

        Raises:
            AssertionError: it has not; the text says where it is.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            where = _where(self._thread)
            raise AssertionError(f"the view is still running after {timeout:g} seconds:\n{where}")

    @property
    def response(self) -> TestResponse:
        """The response, once it is there; what the view has raised is raised here."""
        self.wait()
        if self._failure is not None:
            raise self._failure
        assert self._response is not None  # noqa: S101
        return self._response

    @property
    def client_was_gone(self) -> bool:
        """Whether the view, or its stream, was stopped because its client had gone."""
        self.wait()
        return self._client.client_was_gone

    def _run(self) -> None:
        try:
            self._response = self._call()
        except BaseException as exc:  # noqa: BLE001  raised again where it is asked for
            self._failure = exc


def _where(thread: threading.Thread) -> str:
    """Return where in the application `thread` is, as a traceback has it."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  documented
    frames = traceback.extract_stack(frame) if frame else []
    calls = [number for number, each in enumerate(frames) if each.name == "dispatch_request"]
    return "".join(traceback.format_list(frames[calls[0] + 1 if calls else 0 :]))
