"""What we rely on of asyncio beyond its documentation, checked by name.

A server asks when it starts, and `hijack_async` before it hijacks: a Python that has renamed one of
these costs a sentence, not a client that was told 101 and then hears nothing.
"""

from __future__ import annotations

import functools
import importlib
import platform
from typing import Final

from ..errors import UnsupportedError

__all__ = ["SEAMS", "check_seams"]

SEAMS: Final = (
    ("asyncio.constants", "_SendfileMode"),
    ("asyncio.selector_events", "_SelectorSocketTransport"),
    ("asyncio.selector_events._SelectorSocketTransport", "_call_connection_lost"),
    ("asyncio.sslproto", "SSLProtocol"),
    ("asyncio.sslproto.SSLProtocol", "eof_received"),
    ("asyncio.sslproto.SSLProtocol", "get_buffer"),
    ("asyncio.sslproto.SSLProtocol", "buffer_updated"),
    ("asyncio.streams", "StreamReaderProtocol"),
    ("asyncio.streams.StreamReader", "_maybe_resume_transport"),
    ("asyncio.transports", "_FlowControlMixin"),
    ("asyncio.transports._FlowControlMixin", "_maybe_pause_protocol"),
    ("asyncio.transports._FlowControlMixin", "_maybe_resume_protocol"),
    ("asyncio.trsock", "TransportSocket"),
)
"""Pairs of a module, or a class in one, and an attribute that it must have."""


@functools.cache
def check_seams() -> None:
    """Check that this Python's asyncio has what we rely on.

    Raises:
        UnsupportedError: something is missing; the text says what.
    """
    # The package before its parts: where several threads come here at once, one that imports a part
    # and one that imports the package wait for each other, and Python lets both go on with half.
    importlib.import_module("asyncio")
    missing = [f"{owner}.{name}" for owner, name in SEAMS if not _has(owner, name)]
    if missing:
        raise UnsupportedError(
            f"hijack_async needs {', '.join(missing)}, "
            f"which the asyncio of Python {platform.python_version()} does not have"
        )


def _has(owner: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(owner), name)
    except ImportError:
        module, _, cls = owner.rpartition(".")
    try:
        return hasattr(getattr(importlib.import_module(module or owner), cls, None), name)
    except ImportError:
        return False
