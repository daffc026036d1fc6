"""The WebSocket protocol (RFC 6455): the handshake of a request, and a protocol for what follows.

The library under it is `websockets` (extra ``websocket``), of which the sans-I/O layer is used
alone: bytes in, frames out, no socket and no thread. wsproto was looked at as well. For
`websockets` speak that its maintainers run the Autobahn test suite against it, that its masking is
in C (wsproto's is Python), that it needs no other package (wsproto needs h11), that it keeps no
zlib state between messages where that was agreed on, and that one of its frames can be serialized
by itself: a message to a group is framed once for all of its members.

This is the one file that imports it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from werkzeug.exceptions import (
    BadRequest,
    Forbidden,
    HTTPException,
    HTTPVersionNotSupported,
    MethodNotAllowed,
)
from werkzeug.sansio.utils import get_host

try:
    from websockets.datastructures import Headers
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
    from websockets.frames import Frame, Opcode
    from websockets.http11 import Request as Handshake
    from websockets.protocol import Protocol, Side, State
    from websockets.server import ServerProtocol
except ImportError as exc:  # pragma: no cover  tested in a process of its own
    raise RuntimeError(
        "rawsocket.websocket() needs the package websockets: "
        "pip install 'Flask-RawSocket[websocket]'"
    ) from exc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flask import Request

__all__ = ["Opcode", "State", "UpgradeRequired", "data_frame", "shake_hands"]

_log: Final = logging.getLogger("flask_rawsocket.websocket")
_log.setLevel(logging.WARNING)  # it has a line for each end

_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=12,
    compress_settings={"memLevel": 5},
)
"""Compression without state between messages: that would take 40 KiB for each connection."""


_VERSION: Final = "13"

_OURS: Final = {"Date", "Connection", "Upgrade"}
"""The fields of its response that are said elsewhere."""


class UpgradeRequired(HTTPException):
    """426: the request is not one for a WebSocket (RFC 9110, section 15.5.22)."""

    code = 426
    description = "This is for WebSocket clients."

    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        """Say what to upgrade to, and which version there is (RFC 6455, section 4.4)."""
        fields = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", _VERSION)]
        return [*super().get_headers(*args, **kwargs), *fields]


class _Protocol(Protocol):
    """The library's, which takes a close frame between two fragments for an error."""

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame; control frames may come between fragments (RFC 6455, section 5.4)."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = self.cur_size = None  # by its release
        super().recv_frame(frame)


def shake_hands(
    request: Request,
    *,
    subprotocols: Sequence[str],
    max_message_size: int | None,
    compression: bool,
    origins: Iterable[str] | None,
) -> tuple[Any, list[tuple[str, str]]]:
    """Check the handshake in `request`, and agree on extensions and a subprotocol.

    Args:
        request: the request.
        subprotocols: those there are, the best one first.
        max_message_size: in bytes; None for no limit.
        compression: whether to agree to permessage-deflate.
        origins: whose pages may connect; None for the request's own host.

    Returns:
        The protocol, which is open, and the header fields of the 101 response.

    Raises:
        HTTPException: the handshake is not valid, or comes from another site's page.
    """
    _check_request(request)
    _check_origin(request, origins)
    handshake = ServerProtocol(
        extensions=[_DEFLATE] if compression else None,
        subprotocols=cast("Any", [*subprotocols] or None),
        select_subprotocol=lambda _, offered: _first_common(subprotocols, offered),
        logger=_log,
    )
    response = handshake.accept(Handshake(request.path, Headers(request.headers.items())))
    if response.status_code != 101:  # noqa: PLR2004
        raise BadRequest(str(handshake.handshake_exc))
    # That one would read the request itself, which a server has done; this one reads frames.
    protocol = _Protocol(Side.SERVER, state=State.OPEN, max_size=max_message_size, logger=_log)
    protocol.extensions = handshake.extensions
    protocol.subprotocol = handshake.subprotocol
    headers = [each for each in response.headers.raw_items() if each[0] not in _OURS]
    return protocol, [("Upgrade", "websocket"), *headers]


def _check_request(request: Request) -> None:
    if request.method != "GET":
        raise MethodNotAllowed(["GET"])
    if request.environ["SERVER_PROTOCOL"] < "HTTP/1.1":
        raise HTTPVersionNotSupported
    if request.headers.get("Upgrade", "").strip().lower() != "websocket":
        raise UpgradeRequired
    if request.headers.get("Sec-WebSocket-Version", "").strip() != _VERSION:
        raise UpgradeRequired(f"Only version {_VERSION} of the WebSocket protocol is spoken here.")
    if request.content_length or "Transfer-Encoding" in request.headers:
        # It would be taken for frames; and a proxy may see the end of it elsewhere.
        raise BadRequest("A WebSocket handshake has no body.")


def _first_common(ours: Sequence[str], offered: Sequence[str]) -> Any:
    """Return a subprotocol; None where there is none, and the client decides (RFC 6455, 4.2.2)."""
    return next((each for each in ours if each in offered), None)


def _check_origin(request: Request, origins: Iterable[str] | None) -> None:
    """Check that the page that connects is of this site, or one of `origins`.

    Any page may open a WebSocket to any site, and the browser sends that site's cookies along.

    Raises:
        Forbidden: it is not.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return  # not a browser
    if origins is None:
        allowed = _host_of(origin) == request.host.lower()
    else:
        allowed = "*" in (origins := set(origins)) or origin in origins
    if not allowed:
        raise Forbidden(f"WebSockets from {origin} are not allowed here.")


def _host_of(origin: str) -> str | None:
    """Return the host and port in it, without a port that goes without saying."""
    try:
        parts = urlsplit(origin)
    except ValueError:  # brackets that do not match
        return None
    return get_host(parts.scheme, parts.netloc.lower())


def data_frame(payload: bytes, *, is_text: bool) -> bytes:
    """Return a message as a frame that is not compressed."""
    return Frame(Opcode.TEXT if is_text else Opcode.BINARY, payload).serialize(mask=False)
