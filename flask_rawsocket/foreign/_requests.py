"""A request on a server that is not ours: where it begins, and where it has ended."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from .. import _wsgi

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from ._connections import ForeignConnection

__all__ = ["serve"]


def serve(
    connection: ForeignConnection,
    app: WSGIApplication,
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> Iterable[bytes]:
    """Call the application; the request has ended when its response is closed.

    Args:
        connection: the request's.
        app: the application.
        environ: the request's.
        start_response: the server's.
    """
    connection.requests_in_hand += 1
    try:
        body = app(environ, start_response)
    except BaseException:
        connection.request_ended()
        raise
    if _is_whole(body, environ):
        # As it is: servers look at its class, or its length, to send it well.
        connection.request_ended()
        return body
    return _Response(body, connection)


def _is_whole(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    """Tell whether the application has done all its work: nothing of it runs in `body`."""
    # uWSGI's file wrapper returns the file itself, which uWSGI sends by sendfile(2).
    if isinstance(body, list | tuple | io.BufferedReader | io.BytesIO):
        return True
    wrapper = environ.get("wsgi.file_wrapper")  # a class, or a function of uWSGI's
    return isinstance(wrapper, type) and isinstance(body, wrapper)


class _Response:
    """A response's body; its server closes it at the end (PEP 3333)."""

    def __init__(self, body: Iterable[bytes], connection: ForeignConnection) -> None:
        self._body = body
        self._connection: ForeignConnection | None = connection

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        try:
            _wsgi.close(self._body)
        finally:
            if connection is not None:
                connection.request_ended()
