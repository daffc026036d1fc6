"""The TLS context of a worker: not made for each connection, and not lost to a bad certificate."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn import sock

from .._sockets.tls import TrackedSSLSocket
from .._sockets.tls_context import track_tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

__all__ = ["SEAMS", "TLSSetupError", "UntilFilesChange", "track_contexts"]

SEAMS = ((sock, "ssl_context"),)


class TLSSetupError(Exception):
    """There is no TLS context, by our own configuration's fault; the client has no part in it.

    It is not to be answered: in the clear no client would understand it.
    """


def track_contexts(cfg: Any, log: Any, tls_class: Any = TrackedSSLSocket) -> None:
    """Have the TLS contexts that gunicorn is given make sockets that are tracked.

    Args:
        cfg: the worker's settings; a context comes from its `ssl_context`.
        log: is told of contexts that could not be made.
        tls_class: what their sockets are made of.
    """
    make = cfg.ssl_context
    is_default = make is cfg.settings["ssl_context"].default
    if is_default:
        make = UntilFilesChange(make, log)

    def ssl_context(conf: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        try:
            made = make(conf, default)
            return track_tls(made, tls_class, suppress_ragged_eofs=cfg.suppress_ragged_eofs)
        except TLSSetupError:
            raise
        except Exception as exc:  # the hook is the application's, and may raise anything
            log.exception("TLS could not be set up")
            raise TLSSetupError(str(exc)) from exc

    cfg.set("ssl_context", ssl_context)
    if is_default:
        # Now, so that there is a good one to keep before the first client comes.
        with contextlib.suppress(TLSSetupError):
            sock.ssl_context(cfg)


class UntilFilesChange:
    """Makes a TLS context, and another when the certificate's files have changed.

    gunicorn makes one for each connection: it reads the files each time, takes a descriptor for
    that which there may not be, and no session can be resumed.

    While the files are being replaced, key and certificate may not match, be half written or be
    gone: then the last context that was good stays in use.

    Args:
        make: makes a context.
        log: is told, once for each such state of the files.
    """

    def __init__(self, make: Callable[..., ssl.SSLContext], log: Any) -> None:
        self._make = make
        self._log = log
        self._lock = threading.Lock()
        """Guards the three below."""
        self._seen: list[Any] | None = None
        self._complained: list[Any] | None = None
        self._context: ssl.SSLContext | None = None

    def __call__(self, conf: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """Return the context that is good for now.

        Args:
            conf: gunicorn's configuration.
            default: makes a context of it.

        Raises:
            TLSSetupError: there has been none yet; the log says why.
        """
        files = [each for each in (conf.certfile, conf.keyfile, conf.ca_certs) if each]
        with self._lock:
            seen = [_identity(each) for each in files]
            if self._context is None or seen != self._seen:
                try:
                    self._context = self._make(conf, default)
                except (OSError, ValueError) as exc:  # it is tried again for the next connection
                    if seen != self._complained:
                        self._complained = seen
                        self._complain(files, exc)
                    if self._context is None:
                        raise TLSSetupError(str(exc)) from exc
                else:
                    self._seen, self._complained = seen, None
            return self._context

    def _complain(self, files: list[str], exc: Exception) -> None:
        until = "there is none to go on with" if self._context is None else "the last one stays"
        names = ", ".join(map(str, files))
        self._log.error("No TLS context can be made of %s (%s); %s", names, exc, until)


def _identity(path: str) -> tuple[int, int, int] | None:
    """Return what changes when the file does; None where there is none."""
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
