"""`ProxyParser`: finds and reads the PROXY protocol header at the beginning of a connection.

It has no socket and no clock: it is fed what has come, however it is cut, and returns what is not
the header's. Source: haproxy's ``doc/proxy-protocol.txt``, sections 2.1 and 2.2.

Unlike the specification, and as in gunicorn, a connection without a header is served: whoever may
send one is known by its address. Who may not and does is refused.
"""

from __future__ import annotations

import re
import socket
import struct
from typing import Final

from .._connection.proxy_header import ProxyHeader
from . import proxy_fields
from .proxy_fields import ProxyHeaderError

__all__ = ["MODES", "ProxyForbiddenError", "ProxyHeaderError", "ProxyParser"]

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"

MODES: Final = {"off": (), "v1": (_V1,), "v2": (_V2,), "auto": (_V2, _V1)}
"""What a header may begin with, by the values of gunicorn's setting ``proxy_protocol``."""

_LONGEST_LINE: Final = 107
"""The bytes of a header of version 1, its end included."""

_FIXED: Final = 16
"""The bytes of one of version 2, without what they announce."""

_LONGEST: Final = 16384
"""And all of them, at most: as many as haproxy's buffer takes, which may hold a certificate. The
format's own limit is 65,551; nginx's, which sends few fields, 4096."""

_PORT: Final = re.compile("0|[1-9][0-9]{0,4}")
_FAMILIES: Final = {"TCP4": socket.AF_INET, "TCP6": socket.AF_INET6}

_LOCAL, _PROXY = 0x0, 0x1
_UNSPEC, _INET, _INET6, _UNIX = range(4)
_STREAM, _DATAGRAM = 1, 2
_INET_BLOCK: Final = struct.Struct("!4s4sHH")
_INET6_BLOCK: Final = struct.Struct("!16s16sHH")
_BLOCKS: Final = {
    _UNSPEC: 0,
    _INET: _INET_BLOCK.size,
    _INET6: _INET6_BLOCK.size,
    _UNIX: 2 * 108,
}
"""The bytes of the addresses of each family."""


class ProxyForbiddenError(ProxyHeaderError):
    """A peer that may not send a header has sent one."""


class ProxyParser:
    """Takes what comes first on one connection.

    Args:
        mode: which versions are read: a key of `MODES`.
        is_trusted: whether this peer may send a header.
    """

    __slots__ = ("_buffer", "_is_trusted", "_start", "_starts", "before_preface", "header", "held")

    def __init__(self, mode: str, *, is_trusted: bool) -> None:
        self._starts = MODES[mode]
        self._is_trusted = is_trusted
        self._start: bytes | None = None
        """With which of them it begins; None where that is not known yet."""
        self._buffer = bytearray()
        self.header: ProxyHeader | None = None
        """What the header says, once it is there."""
        self.held = 0
        """How many of the last bytes may have to be returned yet: they may be no header's."""
        self.before_preface = False
        """Whether the preface of HTTP/2 may follow, which is not a request."""

    @property
    def has_begun(self) -> bool:
        """Whether something has come that is, or may be, a part of a header."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> bytes | None:
        """Take `data`; return what is not the header's, once that is known, else None.

        What is returned is all that has come where there is no header. Nothing more is to be fed
        then.

        Raises:
            ProxyHeaderError: a header has begun, and it is malformed, too long or forbidden.
        """
        self._buffer += data
        if self._start is None:
            self._start = self._find_start(self._buffer)
            if self._start is None:
                self.held = len(data)
                return None if self._may_begin(self._buffer) else bytes(self._buffer)
            if not self._is_trusted:
                raise ProxyForbiddenError("this peer may send no PROXY protocol header")
        self.held = 0
        end = self._find_end(self._buffer)
        if end > len(self._buffer):
            return None
        header, rest = bytes(self._buffer[:end]), bytes(self._buffer[end:])
        self.header = (_read_v1 if self._start is _V1 else _read_v2)(header)
        return rest

    def belonging(self, coming: bytes) -> int:
        """Return how many bytes of `coming`, which come next, are the header's.

        For a socket of which no byte beyond the header may be read. 0 where there is none; all, if
        what has been fed had begun like one: that cannot be put back.
        """
        data = self._buffer + coming
        if self._find_start(data) is None:
            return len(coming) if self._buffer or (coming and self._may_begin(data)) else 0
        try:
            end = self._find_end(data)
        except ProxyHeaderError:
            return len(coming)  # `feed` says so
        return min(len(coming), end - len(self._buffer))

    def _find_start(self, data: bytearray) -> bytes | None:
        for start in self._starts:
            if data.startswith(start):
                return start
        return None

    def _may_begin(self, data: bytearray) -> bool:
        return any(start.startswith(data) for start in self._starts)

    def _find_end(self, data: bytearray) -> int:
        """Return the size of the header; if that is not known yet, one that is more than is there.

        Of version 2 it is a size up to which all is the header's.
        """
        if data.startswith(_V1):
            end = data.find(b"\n", 0, _LONGEST_LINE)
            if end >= 0:
                return end + 1
            if len(data) >= _LONGEST_LINE:
                raise ProxyHeaderError("the line is too long")
            return len(data) + 1
        if len(data) < _FIXED:
            return _FIXED
        size = _FIXED + int.from_bytes(data[14:16])
        if size > _LONGEST:
            raise ProxyHeaderError(f"{size} bytes are too many")
        return size


def _read_v1(line: bytes) -> ProxyHeader:
    """Read a header of version 1, which ends with a LF."""
    text, _, rest = line.partition(b"\r")
    if rest != b"\n":
        raise ProxyHeaderError("the line does not end with CRLF")
    _, protocol, *fields = text.decode("latin-1").split(" ")
    if protocol == "UNKNOWN":
        return ProxyHeader("UNKNOWN", None, None)
    family = _FAMILIES.get(protocol)
    if family is None:
        raise ProxyHeaderError(f"the protocol {protocol!r} is not known")
    if len(fields) != 4:  # noqa: PLR2004
        raise ProxyHeaderError("there are not two addresses and two ports")
    source, destination, *ports = fields
    return ProxyHeader(
        protocol,
        (_address(family, source), _port(ports[0])),
        (_address(family, destination), _port(ports[1])),
    )


def _address(family: socket.AddressFamily, text: str) -> str:
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, text))
    except (OSError, ValueError):
        raise ProxyHeaderError(f"{text!r} is not an address") from None


def _port(text: str) -> int:
    if _PORT.fullmatch(text) is None or int(text) > 0xFFFF:  # noqa: PLR2004
        raise ProxyHeaderError(f"{text!r} is not a port")
    return int(text)


def _read_v2(header: bytes) -> ProxyHeader:
    version, command = divmod(header[12], 16)
    family, transport = divmod(header[13], 16)
    if version != 2 or command > _PROXY:  # noqa: PLR2004
        raise ProxyHeaderError(f"no such version and command: {header[12]:#04x}")
    if command == _LOCAL:  # a health check, for example: what follows is to be discarded
        return ProxyHeader("LOCAL", None, None, version=2)
    if family > _UNIX or transport > _DATAGRAM:
        raise ProxyHeaderError(f"no such family and transport: {header[13]:#04x}")
    start = _FIXED + _BLOCKS[family]
    if not family or not transport:
        return _read_unspec(header, start)
    if len(header) < start:
        raise ProxyHeaderError("the addresses are cut off")
    source, destination = _addresses(header, family)
    kind = "TCP" if transport == _STREAM else "UDP"
    protocol = {_INET: f"{kind}4", _INET6: f"{kind}6", _UNIX: "UNIX"}[family]
    fields = proxy_fields.read(header[start:])
    proxy_fields.check(header, start, fields)
    told = proxy_fields.values(fields)
    return ProxyHeader(protocol, source, destination, version=2, tlvs=fields, **told)


def _read_unspec(header: bytes, start: int) -> ProxyHeader:
    """Read one without addresses, or of a kind that nobody has defined.

    What follows is to be ignored; where it consists of fields, as haproxy sends it for a client at
    a UNIX socket, it is not.
    """
    try:
        fields = proxy_fields.read(header[start:])
    except ProxyHeaderError:
        return ProxyHeader("UNSPEC", None, None, version=2)
    proxy_fields.check(header, start, fields)
    return ProxyHeader("UNSPEC", None, None, version=2, tlvs=fields, **proxy_fields.values(fields))


def _addresses(header: bytes, family: int) -> tuple[tuple[str, int] | None, tuple[str, int] | None]:
    if family == _UNIX:
        return None, None
    block, kind = (
        (_INET_BLOCK, socket.AF_INET) if family == _INET else (_INET6_BLOCK, socket.AF_INET6)
    )
    source, destination, *ports = block.unpack_from(header, _FIXED)
    return (
        (socket.inet_ntop(kind, source), ports[0]),
        (socket.inet_ntop(kind, destination), ports[1]),
    )
