"""`Task`: waitress's service of one request, which the tracker hears of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import waitress.task

from .. import _wsgi
from .._connection import ending, observing
from .._connection.connection import life_of
from .._connection.state import CloseReason
from .._sockets.proxied import put_addresses
from .._tracking.tracker import process_tracker
from .exchange import Exchange

if TYPE_CHECKING:
    from .._connection.connection import Connection
    from .._connection.life import Life
    from .channel import Channel

__all__ = ["ErrorTask", "Task"]

_TOO_LARGE = 431
_SERVER_ERROR = 500


class Task(waitress.task.WSGITask):
    """Serves one request by the application."""

    channel: Channel
    connection: Connection | None = None
    exchange: Exchange | None = None
    """Of a tracked connection, as is this."""

    is_finished = False
    """Whether the response is whole: waitress may log no error of a socket, nor of a file."""

    def service(self) -> None:
        """Serve it; then the connection is IDLE, where it is kept."""
        connection = self.connection = self.channel.connection
        if connection is None:  # it has been closed meanwhile
            self.close_on_finish = True
            return
        life = life_of(connection)
        ending.request_begun(life)
        self.exchange = life.exchange = Exchange(self)
        if life.force_close:
            self.set_close_on_finish()
        try:
            with observing.busy_thread():
                super().service()
            self._served(life, self.exchange)
        except BaseException:
            if self.exchange.is_cut():
                ending.cut(life)
            raise
        finally:
            process_tracker.request_ended(connection)
            # Each of these refers to this task, which is to be freed without a garbage collector.
            self.environ = self.exchange = self.connection = None

    def _served(self, life: Life, exchange: Exchange) -> None:
        """The response is complete, or somebody else's."""
        if exchange.hijacked:
            self.close_on_finish = True  # for this server it ends
        elif not self.is_finished:
            if exchange.is_cut():
                ending.cut(life)
        elif self.close_on_finish:
            self._note_short(life)
            ending.response_made(life)  # the channel knows when it is out
        else:
            if not ending.is_by_peer(life):  # as a write has found, of which nobody else tells
                ending.reset(life)
            # Now: as soon as the channel forgets the request, the next one may be read.
            self.channel.await_request()

    def _note_short(self, life: Life) -> None:
        length = self.content_length
        is_short = length is not None and self.content_bytes_written < length
        if is_short and self.has_body and self.request.command != "HEAD":
            ending.note(life, CloseReason.SHORT_RESPONSE)

    def finish(self) -> None:
        """End the response, unless the connection is not ours any more."""
        if self.exchange is not None and self.exchange.hijacked:
            return
        if self.request.command == "HEAD":
            if not self.wrote_header:
                self.write(b"")
            self.chunked_response = False  # waitress would send the end of a body that is none
        super().finish()
        self.is_finished = True

    def get_environment(self) -> Any:
        """Return waitress's environ with the connection in it."""
        is_new = self.environ is None
        environ = super().get_environment()
        connection, exchange = self.connection, self.exchange
        if is_new and connection is not None and exchange is not None:
            exchange.body = environ["wsgi.input"]
            put_addresses(environ, connection.proxy)
            _wsgi.put(environ, connection, exchange)
        return environ


class ErrorTask(waitress.task.ErrorTask):
    """Answers what is no request, and a view that has failed."""

    channel: Channel

    def service(self) -> None:
        """Answer, and note whose failure it is."""
        connection, code = self.channel.connection, self.request.error.code
        if connection is not None and code < _SERVER_ERROR:
            why = CloseReason.HEAD_TOO_LARGE if code == _TOO_LARGE else CloseReason.BAD_REQUEST
            ending.note(life_of(connection), why)
        super().service()
