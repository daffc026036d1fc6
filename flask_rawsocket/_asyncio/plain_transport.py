"""`PlainTransport`: asyncio's transport over a plain socket, which is gone when it has ended.

asyncio's own refers to itself. So it lives on after its end, and with it the socket object and the
`Connection`, until the garbage collector comes across it.
"""

from __future__ import annotations

from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]

__all__ = ["PlainTransport"]


class PlainTransport(_SelectorSocketTransport):  # type: ignore[misc]
    """Reads and writes a plain socket for a protocol, which is told so in the loop's next turn.

    Args:
        loop: the running loop.
        sock: the socket, in non-blocking mode.
        protocol: whose data it is.
    """

    _read_ready_cb: object
    _write_ready: object

    def _call_connection_lost(self, exc: Exception | None) -> None:
        try:
            super()._call_connection_lost(exc)
        finally:
            # Its own methods; the second is one of its attributes from Python 3.12 on.
            self._read_ready_cb = self._write_ready = None
