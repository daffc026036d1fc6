"""The states of a connection, the moves between them, and the reasons for its end.

Two rules: whatever decides which move is legal is in this file, as data; and this file knows no
socket, no thread and no server. Only `tracker.py` makes the moves.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import InvalidStateError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

__all__ = ["TRANSITIONS", "CloseReason", "ConnState", "illegal_transition"]


class ConnState(enum.Enum):
    """What a connection is doing; the names are those of Go's ``net/http.ConnState``."""

    NEW = "new"
    """Accepted; not one byte of a request has been read."""

    ACTIVE = "active"
    """At least one byte of a request has been read, and its response has not ended."""

    IDLE = "idle"
    """Kept alive between two requests."""

    HIJACKED = "hijacked"
    """Hijacked by the application; the server no longer touches it."""

    CLOSED = "closed"
    """Gone. No other state follows."""

    # A state is looked up twice in every request, and Enum's own hash is a slow Python function.
    __hash__ = object.__hash__


class CloseReason(enum.Enum):
    """Why a connection became `ConnState.CLOSED`.

    The first six are groups, which say who ended it. The others are the reasons, each in one
    of them: ``conn.close_reason.group is CloseReason.CLIENT``. The value of each is its name in
    lower case, as it stands in counts.
    """

    CLIENT = "client"
    """Group: the peer ended it."""

    AFTER_RESPONSE = "after_response"
    """Group: the response ended, and the connection was not to be kept alive."""

    KEEPALIVE_TIMEOUT = "keepalive_timeout"
    """Group: no request came in time."""

    ERROR = "error"
    """Group: something failed, on the peer's side or on ours."""

    SHUTDOWN = "shutdown"
    """Group: the server process stopped."""

    APP = "app"
    """Group: the application ended it."""

    PEER_CLOSED = "peer_closed", CLIENT
    """The peer closed it, or its sending half, before it was to end. Setting: none."""

    PEER_RESET = "peer_reset", CLIENT
    """The peer reset it. Setting: none."""

    PEER_LOST = "peer_lost", CLIENT
    """The system gave the peer up: it answered nothing any more. Setting:
    `Connection.set_dead_peer_timeout`; without it, ``net.ipv4.tcp_retries2`` of Linux."""

    RESPONSE_COMPLETE = "response_complete", AFTER_RESPONSE
    """The response was sent, and the client, the application or the server wanted no other request.
    Setting: gunicorn's ``keepalive`` and worker class; `Connection.close_after_response`."""

    SHORT_RESPONSE = "short_response", AFTER_RESPONSE
    """The response was shorter than its Content-Length. Setting: none; mend the application."""

    KEEPALIVE_OVER = "keepalive_over", KEEPALIVE_TIMEOUT
    """No next request came in time. Setting: gunicorn's ``keepalive``."""

    NO_REQUEST = "no_request", KEEPALIVE_TIMEOUT
    """Not one byte of a first request came in time. Setting: gunicorn's ``keepalive``, plus 5
    seconds; ``RAWSOCKET_HEADER_TIMEOUT`` where a thread waits: on the sync worker, on Werkzeug."""

    BAD_REQUEST = "bad_request", ERROR
    """What came was not a request that could be parsed, such as TLS on a port without. Setting:
    none."""

    BAD_PROXY_HEADER = "bad_proxy_header", ERROR
    """A PROXY protocol header was malformed, had a wrong checksum, or came from a peer that may not
    send one. Setting: gunicorn's ``proxy_protocol`` and ``proxy_allow_ips``;
    ``RAWSOCKET_PROXY_PROTOCOL`` and ``RAWSOCKET_PROXY_ALLOW_IPS`` on Werkzeug."""

    HEAD_TOO_LARGE = "head_too_large", ERROR
    """The request line or the headers were longer than is allowed. Setting: gunicorn's
    ``limit_request_line``, ``limit_request_fields`` and ``limit_request_field_size``."""

    HEAD_TOO_SLOW = "head_too_slow", ERROR
    """The head of a request, or a PROXY protocol header, had begun, and its end did not come in
    time. Setting: ``RAWSOCKET_HEADER_TIMEOUT``."""

    BODY_TOO_SLOW = "body_too_slow", ERROR
    """The body of a request came too slowly. Setting: ``RAWSOCKET_MIN_BODY_RATE``."""

    READ_DEADLINE = "read_deadline", ERROR
    """The body did not come before the deadline that the view had set. Setting:
    `Connection.set_deadlines`."""

    NOT_TLS = "not_tls", ERROR
    """What came on a TLS port was not TLS, such as a request in the clear. Setting: none."""

    HANDSHAKE_FAILED = "handshake_failed", ERROR
    """Client and server agreed on no TLS: on no version, cipher or certificate. Setting: gunicorn's
    ``ssl_context``, ``ciphers``, ``cert_reqs`` and ``ca_certs``."""

    HANDSHAKE_TOO_SLOW = "handshake_too_slow", ERROR
    """The TLS handshake was not done in time. Setting: ``RAWSOCKET_HEADER_TIMEOUT``."""

    TLS_NOT_SET_UP = "tls_not_set_up", ERROR
    """The server had no certificate to begin TLS with; its error log says why. Setting: gunicorn's
    ``certfile`` and ``keyfile``."""

    VIEW_FAILED = "view_failed", ERROR
    """The application failed before its response began, and the server answered in its place. What
    a view raises, Flask itself answers with a 500: that is a response. Setting: none."""

    RESPONSE_BROKEN = "response_broken", ERROR
    """The application failed in the middle of its response. Setting: none."""

    WRITE_DEADLINE = "write_deadline", ERROR
    """The response was not written before the deadline that the view had set. Setting:
    `Connection.set_deadlines`."""

    SLOW_READER = "slow_reader", ERROR
    """The peer read too slowly, or not what a stream had for it. Setting:
    ``RAWSOCKET_MIN_RESPONSE_RATE``; a stream's buffer is fixed."""

    HTTP2_ERROR = "http2_error", ERROR
    """The client broke the rules of HTTP/2. Setting: none."""

    SERVER_FAILED = "server_failed", ERROR
    """The server, or a hook of gunicorn's, could not go on with it; its error log says why.
    Setting: none."""

    STOPPED = "stopped", SHUTDOWN
    """The server process was told to stop. Setting: gunicorn's ``graceful_timeout``;
    ``RAWSOCKET_STOP_TIMEOUT`` for what was hijacked."""

    MAX_REQUESTS = "max_requests", SHUTDOWN
    """The worker had served as many requests as it may, and stopped. Setting: gunicorn's
    ``max_requests``."""

    APP_CLOSED = "app_closed", APP
    """The application had hijacked the connection, and closed it. Setting: none."""

    APP_ABORTED = "app_aborted", APP
    """The application called `Connection.abort`. Setting: none."""

    APP_FORGOT = "app_forgot", APP
    """The application had hijacked the connection and lost it without closing; there is a
    ``ResourceWarning`` for each. Setting: none; mend the application."""

    _group: str
    """The value of its group."""

    # As a state, it is looked up in counts.
    __hash__ = object.__hash__

    def __new__(cls, value: str, group: str | None = None) -> Self:
        """Make a member.

        Args:
            value: its own.
            group: the value of its group; None for one that is a group.
        """
        self = object.__new__(cls)
        self._value_ = value
        self._group = group or value
        return self

    @property
    def group(self) -> CloseReason:
        """The one of the six groups that it is in; a group is in itself."""
        return CloseReason(self._group)

    @property
    def is_group(self) -> bool:
        """Whether it is a group, and thereby no connection's own reason."""
        return self.group is self


TRANSITIONS: Mapping[ConnState | None, frozenset[ConnState]] = MappingProxyType(
    {
        None: frozenset({ConnState.NEW}),
        ConnState.NEW: frozenset({ConnState.ACTIVE, ConnState.CLOSED}),
        ConnState.ACTIVE: frozenset({ConnState.IDLE, ConnState.HIJACKED, ConnState.CLOSED}),
        ConnState.IDLE: frozenset({ConnState.ACTIVE, ConnState.CLOSED}),
        ConnState.HIJACKED: frozenset({ConnState.CLOSED}),
        ConnState.CLOSED: frozenset(),
    }
)
"""The states that may follow each state; None is before the first one."""


def illegal_transition(
    connection: object, old: ConnState | None, new: ConnState
) -> InvalidStateError:
    """Return the error for a move that is not in `TRANSITIONS`.

    Args:
        connection: the connection; only its ``repr`` is used.
        old: the state that it is in, None before the first one.
        new: the state that it was to enter.
    """
    before = old.name if old is not None else "nothing"
    return InvalidStateError(f"{connection!r} cannot go from {before} to {new.name}")
