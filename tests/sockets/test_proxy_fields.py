"""The fields of a PROXY header and its checksum; what they say is in test_proxy_protocol."""

from __future__ import annotations

import proxying
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_rawsocket._sockets.proxy_fields import ProxyHeaderError, check, crc32c, read


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_the_checksum(data, expected):
    """The vectors of RFC 3720, appendix B.4, and the usual one."""
    assert crc32c(data) == expected


@given(st.binary(max_size=100))
def test_the_checksum_of_anything(data):
    """It is what the definition says, bit by bit."""
    assert crc32c(data) == proxying.crc32c(data)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30)), max_size=6))
def test_fields_come_back(fields):
    """What is written as fields is read as these, and no part of it is."""
    block = b"".join(proxying.tlv(*each) for each in fields)
    assert read(block) == tuple(fields)
    if block:
        with pytest.raises(ProxyHeaderError):
            read(block + b"\x01")


@given(st.data())
def test_a_flipped_bit(data):
    """Any single bit that is flipped in a header with a checksum is found."""
    header = bytearray(proxying.summed(proxying.tlv(1, b"h2")))
    start = 16 + len(proxying.TCP4)
    check(bytes(header), start, read(bytes(header[start:])))
    value = data.draw(st.sampled_from([0, 12, 20, start + 4, len(header) - 1]))
    header[value] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProxyHeaderError):
        check(bytes(header), start, read(bytes(header[start:])))
