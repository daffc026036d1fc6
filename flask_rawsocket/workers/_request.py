"""`Request`: gunicorn's, which makes an empty body at once where no field speaks of one."""

from __future__ import annotations

from typing import Any, Final

from gunicorn.http import message
from gunicorn.http.body import Body, LengthReader

__all__ = ["SEAMS", "Request"]

_FRAMING: Final = frozenset({"CONTENT-LENGTH", "TRANSFER-ENCODING"})

SEAMS: Final = (
    (message.Message, "set_body_reader"),
    (message.Request, "_handle_proxy_protocol"),
)


class Request(message.Request):
    """Stands where gunicorn makes its requests of HTTP/1, in the worker's process."""

    unreader: Any
    headers: list[tuple[str, str]]

    def set_body_reader(self) -> None:
        """Make the body: where no field speaks of one, one that is empty."""
        for name, _ in self.headers:
            if name in _FRAMING:
                super().set_body_reader()
                return
        self.body = Body(LengthReader(self.unreader, 0))

    def _handle_proxy_protocol(self, _unreader: Any, buf: bytearray, _mode: str) -> bytearray:
        """Look for no PROXY protocol header: the socket has read it."""
        return buf
