"""HTTP/2 on the thread worker, as gunicorn serves it; states follow the streams."""

from __future__ import annotations

from typing import Any

from ._http2_streams import follow, served, serving
from ._sending import SendingWorker

__all__ = ["HTTP2Worker"]


class HTTP2Worker(SendingWorker):
    """The part of our thread worker that is for HTTP/2; all of it runs in a pool thread."""

    def handle_http2(self, conn: Any) -> Any:
        """Serve HTTP/2 until the connection ends, as gunicorn does: on this thread.

        It is ACTIVE while a stream is open, and IDLE while none is.
        """
        sock = conn.sock
        if sock.connection is not None:
            follow(self.tracker, sock, conn.parser)
        result = super().handle_http2(conn)
        served(self, sock)
        return result

    def handle_http2_request(self, req: Any, conn: Any, h2_conn: Any) -> Any:
        """Serve one stream."""
        with serving(self, conn.sock, req, h2_conn):
            return super().handle_http2_request(req, conn, h2_conn)
