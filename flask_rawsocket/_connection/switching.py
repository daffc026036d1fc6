"""The head of a ``101 Switching Protocols`` response (RFC 9110, section 15.2.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["switching_protocols"]

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PROTOCOL: Final = re.compile(rf"{_TOKEN.pattern}(/{_TOKEN.pattern})?")
_FIELD_VALUE: Final = re.compile(r"[ \t\x21-\x7e\x80-\xff]*")
"""RFC 9110, sections 5.6.2, 7.8 and 5.5."""

_NOT_IN_101: Final = {
    "upgrade": "is made of the protocol",
    "connection": "is made of the protocol",
    "content-length": "has no place in a 101 (RFC 9110, section 8.6)",
    "transfer-encoding": "has no place in a 101 (RFC 9112, section 6.1)",
}
"""The fields that the application must not set, and why."""


def switching_protocols(
    protocol: str, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
) -> bytes:
    """Return the head of a ``101 Switching Protocols`` response (RFC 9110, section 15.2.2).

    Args:
        protocol: the value of ``Upgrade``, such as ``websocket``.
        headers: further fields, as a mapping or pairs.

    Raises:
        ValueError: HTTP does not allow the protocol, a name or a value; or a field is not for the
            application to set: ``Upgrade``, ``Connection``, or one about a body.
    """
    if not _PROTOCOL.fullmatch(protocol):
        raise ValueError(f"{protocol!r} is not a protocol name (RFC 9110, section 7.8)")
    pairs = headers.items() if hasattr(headers, "items") else headers
    lines = ["HTTP/1.1 101 Switching Protocols", f"Upgrade: {protocol}", "Connection: Upgrade"]
    for name, value in pairs:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not a field name (RFC 9110, section 5.1)")
        if name.lower() in _NOT_IN_101:
            raise ValueError(f"{name} {_NOT_IN_101[name.lower()]}")
        if not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"the value of {name} is not a field value (RFC 9110, section 5.5)")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
