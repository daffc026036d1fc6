"""What is written to gunicorn's error log by others than gunicorn.

`ErrorsStream` is the ``wsgi.errors`` of all requests of a worker. gunicorn makes one for every
request, and looks up the error log's handlers for it; hardly a request writes to it.

`log_there` is for the lines of this package.
"""

from __future__ import annotations

import io
import logging
from typing import Any, Final

from gunicorn.http import wsgi

__all__ = ["ErrorsStream", "errors_stream", "log_there"]

_WRAPPER: Final = wsgi.WSGIErrorsWrapper

_ours: Final = logging.getLogger("flask_rawsocket")


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


class _ErrorLog(logging.Handler):
    """Passes lines on to the handlers of gunicorn's error log, where no others get them.

    Without it they would go to standard error, whatever ``--error-logfile`` says, and so nowhere in
    a daemon. Which handlers there are is asked at each line: the application configures its logging
    at any time, and gunicorn makes its own late.
    """

    def emit(self, record: logging.LogRecord) -> None:
        others = [each for each in _ours.handlers if each is not self]
        if others or (_ours.propagate and logging.getLogger().handlers):
            return
        handlers = logging.getLogger("gunicorn.error").handlers
        if not handlers and logging.lastResort is not None:
            handlers = [logging.lastResort]
        for each in handlers:
            if record.levelno >= each.level:
                each.handle(record)


_error_log: Final = _ErrorLog()


def log_there() -> None:
    """Have what this package logs in gunicorn's error log, unless the application says where."""
    _ours.addHandler(_error_log)
