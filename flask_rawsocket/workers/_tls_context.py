"""`UntilFilesChange`: the TLS context of a worker, which is not made for each connection."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

__all__ = ["UntilFilesChange"]


class UntilFilesChange:
    """Makes a TLS context, and another when the certificate's files have changed.

    gunicorn makes one for each connection: it reads the files each time, takes a descriptor for
    that which there may not be, and no session can be resumed.
    """

    def __init__(self, make: Callable[..., ssl.SSLContext]) -> None:
        self._make = make
        self._lock = threading.Lock()
        """Guards the two below."""
        self._seen: list[tuple[int, int, int]] | None = None
        self._context: ssl.SSLContext | None = None

    def __call__(self, conf: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        files = [each for each in (conf.certfile, conf.keyfile, conf.ca_certs) if each]
        seen = [(each.st_ino, each.st_mtime_ns, each.st_size) for each in map(os.stat, files)]
        with self._lock:
            if self._context is None or seen != self._seen:
                self._context = self._make(conf, default)
                self._seen = seen
            return self._context
