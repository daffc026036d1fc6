"""The end of a connection: why it comes, and where its hooks run."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from .._connection import ending
from .._connection.connection import life_of
from .._connection.state import CloseReason, ConnState
from .._tracking.tracker import process_tracker

if TYPE_CHECKING:
    from typing import NoReturn

    from .channel import Channel

__all__ = ["ClosingSocket", "close_failed", "hand_close_on"]


def close_failed(channel: Channel) -> None:
    """Have the main loop close `channel`, on which waitress has failed."""
    connection = channel.connection
    if connection is not None:
        ending.note(life_of(connection), CloseReason.SERVER_FAILED)
    channel.will_close = True


def hand_close_on(channel: Channel, *, at_stop: bool = False) -> None:
    """Have the socket that `channel` is to close next closed where its hooks can run.

    Args:
        channel: whose.
        at_stop: whether the server ends.
    """
    with channel.outbuf_lock:  # the thread of a request may be sending
        sock, channel.tracked = channel.tracked, None
        if sock is None or channel.socket is not sock:
            return
        unsent = channel.total_outbufs_len > 0
        if channel.has_last_answer and not unsent:
            # It is out: what the client does now is not why.
            ending.assume(sock.duties.life, CloseReason.RESPONSE_COMPLETE)
        else:
            _note_end(sock, by_server=channel.will_close, unsent=unsent)
            if at_stop:
                ending.note(sock.duties.life, process_tracker.stop_reason)
        channel.socket = ClosingSocket(sock)


def _note_end(sock: Any, *, by_server: bool, unsent: bool) -> None:
    """Note why the connection of `sock` ends, which the main loop closes next.

    Args:
        sock: the tracked socket.
        by_server: whether the server has had enough of it.
        unsent: whether some of a response has not been sent.
    """
    connection = sock.connection
    if connection is None or sock.fileno() < 0:
        return
    life = life_of(connection)
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        ending.broke_off(life, OSError(error, os.strerror(error)))
    why = ending.guess(life)
    if why.group is CloseReason.CLIENT:
        ending.note(life, why)
    elif by_server and unsent:
        ending.note(life, CloseReason.SLOW_READER)
    elif by_server and life.state in (ConnState.NEW, ConnState.IDLE):
        ending.none_came(life)
    elif by_server and life.exchange is None:
        in_head = sock.duties.in_head
        ending.assume(life, CloseReason.HEAD_TOO_SLOW if in_head else CloseReason.BODY_TOO_SLOW)


class ClosingSocket:
    """Stands for a socket that is to be closed, off the main loop if there are hooks to run.

    Args:
        sock: the tracked socket.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def send(self, _data: bytes) -> NoReturn:
        """Send nothing any more.

        Raises:
            BrokenPipeError: always.
        """
        raise BrokenPipeError(errno.EPIPE, "the connection is being closed")

    def close(self) -> None:
        """Let the peer see the end now, and close it."""
        sock = self._sock
        connection = sock.connection
        if connection is None or not process_tracker.has_hooks_of_end(connection):
            sock.close()
            return
        sock.say_goodbye()
        process_tracker.hook_runner.submit(sock.close)
