"""The type-length-value fields (TLVs) of a PROXY header of version 2, and its checksum.

Source: haproxy's ``doc/proxy-protocol.txt``, section 2.2. The types that cloud providers have given
to themselves: AWS, "Network Load Balancers", proxy protocol; Azure, "Private Link service", TCP
proxy v2; Google Cloud, "Private Service Connect", PROXY protocol.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from .._connection.proxy_header import ProxyTLS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ProxyHeaderError", "check", "crc32c", "read", "values"]


class ProxyHeaderError(Exception):
    """What came is not the PROXY protocol header that it begins as."""


_ALPN: Final = 0x01
_AUTHORITY: Final = 0x02
_CRC32C: Final = 0x03
_UNIQUE_ID: Final = 0x05
_TLS: Final = 0x20
_TLS_VERSION: Final = 0x21
_TLS_COMMON_NAME: Final = 0x22
_TLS_CIPHER: Final = 0x23
_TLS_SIGNATURE: Final = 0x24
_TLS_KEY: Final = 0x25
_TLS_GROUP: Final = 0x26
_TLS_SCHEME: Final = 0x27
_TLS_CERTIFICATE: Final = 0x28
_NETWORK_NAMESPACE: Final = 0x30
_GCP: Final = 0xE0
_AWS: Final = 0xEA
_AZURE: Final = 0xEE

_AWS_VPC_ENDPOINT: Final = 0x01
_AZURE_LINK: Final = 0x01
"""Subtypes: the first byte of AWS's and Azure's values."""

_SPEAKS_TLS: Final = 0x01
_HAS_CERTIFICATE: Final = 0x02 | 0x04
"""On this connection, or in its session."""

_HEAD: Final = struct.Struct("!BH")
_TLS_HEAD: Final = struct.Struct("!BI")
_CHECKSUM: Final = struct.Struct("!I")
_AZURE_ID: Final = struct.Struct("<I")
_GCP_ID: Final = struct.Struct("!Q")

_LONGEST_ID: Final = 128
"""The bytes of a unique id, at most (section 2.2.5)."""

_POLYNOMIAL: Final = 0x82F63B78
"""Castagnoli's, its bits reversed (RFC 4960, appendix B)."""


def _table_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_table: Final = tuple(map(_table_entry, range(256)))


def crc32c(data: bytes | bytearray) -> int:
    """Return the CRC32c of `data` (RFC 4960, appendix B)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def read(block: bytes) -> tuple[tuple[int, bytes], ...]:
    """Return the fields in `block`, as pairs of a type and a value.

    Raises:
        ProxyHeaderError: `block` does not consist of fields.
    """
    fields = []
    position = 0
    while position < len(block):
        start = position + _HEAD.size
        if start > len(block):
            raise ProxyHeaderError("a field is cut off")
        kind, size = _HEAD.unpack_from(block, position)
        position = start + size
        if position > len(block):
            raise ProxyHeaderError("a field is longer than its header")
        fields.append((kind, block[start:position]))
    return tuple(fields)


def check(header: bytes, start: int, fields: Sequence[tuple[int, bytes]]) -> None:
    """Verify the checksum of `header`, if it has one.

    Args:
        header: all of it.
        start: where its `fields` begin.
        fields: what `read` has returned for the rest.

    Raises:
        ProxyHeaderError: it is wrong, or there are several.
    """
    position, found = start, None
    for kind, value in fields:
        position += _HEAD.size
        if kind == _CRC32C:
            if found is not None or len(value) != _CHECKSUM.size:
                raise ProxyHeaderError("the checksum is malformed")
            found = position
        position += len(value)
    if found is None:
        return
    (expected,) = _CHECKSUM.unpack_from(header, found)
    zeroed = bytearray(header)
    zeroed[found : found + _CHECKSUM.size] = bytes(_CHECKSUM.size)
    if crc32c(zeroed) != expected:
        raise ProxyHeaderError("the checksum is wrong")


def values(fields: Sequence[tuple[int, bytes]]) -> dict[str, Any]:
    """Return what `fields` say, by the names in `ProxyHeader`; of two of a type, the first.

    Raises:
        ProxyHeaderError: one that has a form does not have it.
    """
    first = dict(reversed(fields))
    unique_id = first.get(_UNIQUE_ID)
    if unique_id is not None and len(unique_id) > _LONGEST_ID:
        raise ProxyHeaderError("the unique id is too long")
    return {
        "alpn": _text(first.get(_ALPN)),
        "authority": _text(first.get(_AUTHORITY)),
        "unique_id": unique_id,
        "tls": _tls(first.get(_TLS)),
        "network_namespace": _text(first.get(_NETWORK_NAMESPACE)),
        "aws_vpc_endpoint_id": _text(_behind(first.get(_AWS), _AWS_VPC_ENDPOINT)),
        "azure_link_id": _number(_behind(first.get(_AZURE), _AZURE_LINK), _AZURE_ID),
        "gcp_psc_connection_id": _number(first.get(_GCP), _GCP_ID),
    }


def _text(value: bytes | None) -> str | None:
    """Return `value` as text; None if it is none."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _behind(value: bytes | None, subtype: int) -> bytes | None:
    return value[1:] if value and value[0] == subtype else None


def _number(value: bytes | None, form: struct.Struct) -> int | None:
    # These types are for anybody's use (section 2.2.8): another form is somebody else's.
    if value is None or len(value) != form.size:
        return None
    number: int = form.unpack(value)[0]
    return number


def _tls(value: bytes | None) -> ProxyTLS | None:
    if value is None:
        return None
    if len(value) < _TLS_HEAD.size:
        raise ProxyHeaderError("the field of TLS is cut off")
    client, verify_result = _TLS_HEAD.unpack_from(value)
    first = dict(reversed(read(value[_TLS_HEAD.size :])))
    if not client & _SPEAKS_TLS:
        return None
    return ProxyTLS(
        version=_text(first.get(_TLS_VERSION)),
        common_name=_text(first.get(_TLS_COMMON_NAME)),
        verify_result=verify_result,
        has_certificate=bool(client & _HAS_CERTIFICATE),
        cipher=_text(first.get(_TLS_CIPHER)),
        signature_algorithm=_text(first.get(_TLS_SIGNATURE)),
        key_algorithm=_text(first.get(_TLS_KEY)),
        group=_text(first.get(_TLS_GROUP)),
        signature_scheme=_text(first.get(_TLS_SCHEME)),
        certificate=first.get(_TLS_CERTIFICATE),
    )
