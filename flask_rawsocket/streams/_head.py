"""The head of a response that the event loop sends: status line and header fields."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["head_of"]

_OURS: Final = {"connection", "transfer-encoding", "keep-alive"}
"""Fields about this connection, not the response: the application's are dropped (PEP 3333)."""


def head_of(
    version: str, status: str, headers: Iterable[tuple[str, str]], *, chunked: bool = False
) -> bytes:
    """Return a response's head.

    After a stream the connection is closed, and its head says so: ``Connection: close``. A 101 says
    ``Connection: Upgrade`` instead.

    Args:
        version: of HTTP, such as ``HTTP/1.1``.
        status: such as ``200 OK``.
        headers: the fields that the application has set.
        chunked: whether the body is sent in chunks.

    Raises:
        ValueError: a field has a line end in it.
    """
    lines = [f"{version} {status}"]
    names = set()
    for name, value in headers:
        if name.lower() not in _OURS:
            lines.append(f"{name}: {value}")
            names.add(name.lower())
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header field has a line end in it")
    if "date" not in names:
        lines.append(f"Date: {formatdate(usegmt=True)}")
    lines.append(f"Connection: {'Upgrade' if status.startswith('101') else 'close'}")
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
