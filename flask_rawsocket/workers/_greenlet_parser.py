"""`GreenletParser`: a parser whose greenlet waits for the next request of a kept connection."""

from __future__ import annotations

from typing import Any

from .._connection import ending
from .._connection.state import CloseReason
from .._sockets.deadlines import READ
from ._exchange import begins_request
from ._parser import Parser

__all__ = ["GreenletParser"]


class GreenletParser(Parser):
    """Stands where gunicorn makes its parsers of HTTP/1, in the gevent worker's process."""

    cfg: Any
    unreader: Any

    def __next__(self) -> Any:
        """Return the next request; between two of them the connection is IDLE.

        Raises:
            StopIteration: there is none.
        """
        sock: Any = getattr(self.unreader, "sock", None)
        duties = getattr(sock, "duties", None)
        if self.mesg:
            if duties is not None and not self.mesg.should_close():
                self._await_request(sock, duties)
        elif duties is not None and not duties.head_due and self.unreader.buf.tell():
            sock.begin_request()  # it has been read to see whether it is the preface of HTTP/2
        return super().__next__()

    def _await_request(self, sock: Any, duties: Any) -> None:
        # First: what is left of the body is not the beginning of a request.
        if self.finish_body() is False:
            ending.assume(duties.life, CloseReason.RESPONSE_COMPLETE)
            raise StopIteration
        sock.await_request()
        if begins_request(self.unreader):
            sock.begin_request()
            return
        if not (duties.life.is_tls and sock.pending()):
            if not sock.is_ready(READ, self.cfg.keepalive):
                ending.none_came(duties.life)
                raise StopIteration
            sock.expect_head()  # it may be empty lines, for ever
