"""`send_close_notify`: the end of a TLS session, as its peer hears of it."""

from __future__ import annotations

import contextlib
from typing import Any

__all__ = ["send_close_notify"]


def send_close_notify(sock: Any) -> None:
    """Send close_notify (RFC 8446, section 6.1), if that can be done without waiting.

    Args:
        sock: an ``ssl.SSLSocket``; what its session has is not dropped.
    """
    session = sock._sslobj  # noqa: SLF001  of the standard library (Lib/ssl.py)
    if session is None or sock.fileno() < 0:
        return
    before = sock.gettimeout()
    sock.settimeout(0)
    try:
        # A session whose handshake is not done has nothing to say; ours may not fit any more.
        with contextlib.suppress(OSError, ValueError):
            session.shutdown()
    finally:
        if sock.fileno() >= 0:
            sock.settimeout(before)
