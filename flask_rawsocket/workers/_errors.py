"""`ErrorsStream`: the ``wsgi.errors`` of all requests of a worker.

gunicorn makes one for every request, and looks up the error log's handlers for it; hardly a request
writes to it.
"""

from __future__ import annotations

import io
from typing import Any, Final

from gunicorn.http import wsgi

__all__ = ["ErrorsStream", "errors_stream"]

_WRAPPER: Final = wsgi.WSGIErrorsWrapper


class ErrorsStream(io.RawIOBase):
    """A stream that makes gunicorn's own when it is written to.

    Then, and not before: USR1 gives the handlers of the log other files at any time.

    Args:
        cfg: gunicorn's configuration.
    """

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self.cfg = cfg

    def write(self, data: Any) -> Any:
        """Write to wherever the error log goes."""
        return _WRAPPER(self.cfg).write(data)

    def close(self) -> None:
        """Stay open: it is not one request's alone."""


_stream: ErrorsStream | None = None


def errors_stream(cfg: Any) -> ErrorsStream:
    """Return the stream for a request; the same one as long as `cfg` is the same.

    Args:
        cfg: gunicorn's configuration.
    """
    global _stream  # noqa: PLW0603  a worker has one configuration
    stream = _stream
    if stream is None or stream.cfg is not cfg:
        _stream = stream = ErrorsStream(cfg)
    return stream
