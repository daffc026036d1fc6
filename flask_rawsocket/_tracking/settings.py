"""`Settings`: what an application configures of the server that it runs in."""

from __future__ import annotations

import difflib
import ipaddress
import logging
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Settings", "log_unknown", "read_settings"]

log = logging.getLogger("flask_rawsocket")


@dataclass(slots=True)
class Settings:
    """For the whole process; the last application to be set up is heard."""

    header_timeout: float | None = 10.0
    """Seconds from a request's first byte to the end of its head; None for no limit."""

    unix_remote_addr: bool | None = None
    """Whether the override of a UNIX peer is its REMOTE_ADDR too; None before any set-up."""

    save_syn: bool = False
    """Whether the listeners keep the SYN of each connection."""

    min_body_rate: float | None = 240.0
    """Bytes a second at which a request's body must come; None or 0 for any."""

    min_response_rate: float | None = 240.0
    """Bytes a second at which a response must be read; None or 0 for any."""

    rate_grace: float = 5.0
    """Seconds of waiting before a rate is enforced."""

    stop_timeout: float | None = 5.0
    """Seconds that hijacked connections have at a stop; None for the server's whole grace."""

    stream_idle_timeout: float | None = None
    """Seconds for which a stream or a WebSocket may say nothing; None for any time."""

    body_buffer: int = 262144
    """The bytes of a request's body that the thread worker reads before it takes a thread."""

    proxy_protocol: str = "off"
    """Which PROXY protocol headers are read where gunicorn's setting does not say: ``off``, ``v1``,
    ``v2`` or ``auto``."""

    proxy_allow_ips: Sequence[str] = ("127.0.0.1", "::1")
    """The peers that may send one: addresses and networks, ``*`` for all; UNIX peers always may."""


def read_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return our settings in an application's `config`, by the names in `Settings`.

    Raises:
        ValueError: one of them has an invalid value.
    """
    settings = {}
    for name, (accepts, expected) in _ACCEPTED.items():
        key = f"RAWSOCKET_{name.upper()}"
        if key in config:
            if not accepts(config[key]):
                raise ValueError(f"{key} takes {expected}, not {config[key]!r}")
            settings[name] = config[key]
    return settings


def log_unknown(config: Mapping[str, Any]) -> None:
    """Log each key in an application's `config` that looks like one of ours, and is not."""
    known = {name.upper(): f"RAWSOCKET_{name.upper()}" for name in _ACCEPTED}
    for key in config:
        looks = _LOOKS_LIKE_OURS.fullmatch(key)
        if looks is None or key in known.values():
            continue
        near = difflib.get_close_matches(looks[1].upper(), known, n=1)
        every = ", ".join(sorted(known.values()))
        hint = f"did you mean {known[near[0]]}?" if near else f"there are {every}."
        log.warning("%s is not a setting of Flask-RawSocket, and does nothing: %s", key, hint)


def _is_number(value: object) -> bool:
    # A bool is an int, but not a number of seconds.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf  # type: ignore[operator]


def _is_timeout(value: object) -> bool:
    return value is None or (_is_number(value) and value != 0)


def _is_rate(value: object) -> bool:
    return value is None or _is_number(value)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_mode(value: object) -> bool:
    return value in ("off", "v1", "v2", "auto")


def _is_allow_list(value: object) -> bool:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        return False
    try:
        for each in value:
            if each != "*":
                ipaddress.ip_network(each)
    except ValueError:
        return False
    return True


_LOOKS_LIKE_OURS: Final = re.compile(r"RAW_?SOCKET_(.*)", re.IGNORECASE)

_ACCEPTED: Final = {
    "header_timeout": (_is_timeout, "seconds above 0, or None"),
    "unix_remote_addr": (_is_bool, "True or False"),
    "save_syn": (_is_bool, "True or False"),
    "min_body_rate": (_is_rate, "bytes a second, or None"),
    "min_response_rate": (_is_rate, "bytes a second, or None"),
    "rate_grace": (_is_number, "seconds"),
    "stop_timeout": (_is_timeout, "seconds above 0, or None"),
    "stream_idle_timeout": (_is_timeout, "seconds above 0, or None"),
    "body_buffer": (_is_size, "a number of bytes, or 0"),
    "proxy_protocol": (_is_mode, "off, v1, v2 or auto"),
    "proxy_allow_ips": (_is_allow_list, "a list of IP addresses and networks, or of '*'"),
}
"""A test for each setting, and the text of what it accepts."""
