"""What a PROXY protocol header says, for all requests of its connection, as gunicorn reads it.

gunicorn knows it in the first request only, refuses headers that name no address, and puts the None
of one into the environ (gunicorn issues 899 and 3451). The specification is haproxy's
``doc/proxy-protocol.txt``; its sections 2.1 and 2.2 have a receiver take the connection's own
addresses then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gunicorn.http import message, parser
from gunicorn.http.errors import InvalidProxyHeader, InvalidProxyLine

from .._connection.address import ProxyHeader
from ._parser import Parser
from ._request import Request

if TYPE_CHECKING:
    from .._connection.connection import Connection

__all__ = ["SEAMS", "note_proxy", "read_all_kinds"]

_NONE: Any = None

SEAMS: Final = (
    (message.Request, "_parse_proxy_protocol_v1"),
    (message.Request, "_parse_proxy_protocol_v2"),
    (message.Request, "read_into"),
    (parser.Parser, "mesg_class"),
    (parser.Parser(_NONE, (), _NONE), "req_count"),
)

_LONGEST_LINE: Final = 107
"""Of a header of version 1, its end included."""

_HEADER: Final = 16
"""The bytes of one of version 2, without what they announce."""

_WITHOUT_ADDRESS: Final = {0x00: "UNSPEC", 0x31: "UNIX", 0x32: "UNIX"}
"""Kinds of a header of version 2 that name no address of the internet, by their byte."""

_PROXY: Final = 0x21
"""Version 2, and the command PROXY."""


class ProxiedRequest(Request):
    """A request which reads every kind of header that the specification has."""

    def _parse_proxy_protocol_v1(self, unreader: Any, buf: bytearray) -> bytearray:
        while b"\r\n" not in buf and len(buf) < _LONGEST_LINE:
            self.read_into(unreader, buf)
        line, end, rest = bytes(buf).partition(b"\r\n")
        if not end or line.split(b" ")[1] != b"UNKNOWN":
            return super()._parse_proxy_protocol_v1(unreader, buf)  # type: ignore[misc,no-any-return]
        self.proxy_protocol_info = _without_address("UNKNOWN")
        return bytearray(rest)

    def _parse_proxy_protocol_v2(self, unreader: Any, buf: bytearray) -> bytearray:
        while len(buf) < _HEADER:
            self.read_into(unreader, buf)
        kind = _WITHOUT_ADDRESS.get(buf[13])
        if buf[12] != _PROXY or kind is None:
            try:
                return super()._parse_proxy_protocol_v2(unreader, buf)  # type: ignore[misc,no-any-return]
            except InvalidProxyHeader as exc:
                # gunicorn answers this one with 500, and logs a traceback.
                raise InvalidProxyLine(str(exc)) from None
        size = _HEADER + int.from_bytes(buf[14:16])
        while len(buf) < size:
            self.read_into(unreader, buf)
        self.proxy_protocol_info = _without_address(kind)
        return bytearray(buf[size:])


def read_all_kinds() -> None:
    """Have our parsers make requests that may come behind such a header, in this process."""
    Parser.mesg_class = ProxiedRequest


def note_proxy(connection: Connection, req: Any) -> None:
    """Keep on `connection` what the header before `req` says; let a later `req` know it.

    gunicorn makes REMOTE_ADDR and its like of it. Where the header names no address, they stay the
    connection's own.
    """
    if req.proxy_protocol_info:
        connection.proxy = _proxy_header(req.proxy_protocol_info)
    header = connection.proxy
    if header is not None:
        req.proxy_protocol_info = _info(header) if header.source is not None else None


def _without_address(protocol: str) -> Any:
    keys = "client_addr", "client_port", "proxy_addr", "proxy_port"
    return {"proxy_protocol": protocol, **dict.fromkeys(keys)}


def _info(header: ProxyHeader) -> dict[str, Any]:
    """Return what gunicorn makes of a header that says `header`."""
    source, destination = header.source or (None, None), header.destination or (None, None)
    return {
        "proxy_protocol": header.protocol,
        "client_addr": source[0],
        "client_port": source[1],
        "proxy_addr": destination[0],
        "proxy_port": destination[1],
    }


def _proxy_header(info: dict[str, Any]) -> ProxyHeader:
    def pair(host: str | None, port: int | None) -> tuple[str, int] | None:
        return (host, int(port)) if host is not None and port is not None else None

    return ProxyHeader(
        protocol=info["proxy_protocol"],
        source=pair(info["client_addr"], info["client_port"]),
        destination=pair(info["proxy_addr"], info["proxy_port"]),
    )
