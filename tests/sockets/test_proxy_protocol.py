"""The PROXY protocol's parser, fed with what the specification says, and with what it forbids."""

from __future__ import annotations

import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from proxying import DESTINATION, SIGNATURE, SOURCE, TCP4, TCP6, V1, summed, tls_tlv, tlv, v2

from flask_rawsocket import ProxyHeader
from flask_rawsocket._sockets.proxy_protocol import (
    MODES,
    ProxyForbiddenError,
    ProxyHeaderError,
    ProxyParser,
)

REST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def parse(data, mode="auto", *, is_trusted=True):
    """Feed `data` at once; give what the header says and what is behind it."""
    parser = ProxyParser(mode, is_trusted=is_trusted)
    rest = parser.feed(data)
    return parser.header, rest


def without_address(protocol, version=2, **more):
    return ProxyHeader(protocol, None, None, version=version, **more)


OF_TCP6 = ("2001:db8::7", 258), ("2001:db8::9", 443)
GOOD = {
    "v1": (V1, ProxyHeader("TCP4", SOURCE, DESTINATION)),
    "v1, IPv6": (
        b"PROXY TCP6 2001:DB8:0::7 2001:db8::9 258 443\r\n",
        ProxyHeader("TCP6", *OF_TCP6),
    ),
    "v1, ports at their limits": (
        b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
        ProxyHeader("TCP4", ("0.0.0.0", 0), ("255.255.255.255", 65535)),
    ),
    "v1, unknown": (b"PROXY UNKNOWN\r\n", without_address("UNKNOWN", 1)),
    "v1, unknown, the longest": (
        b"PROXY UNKNOWN " + b"f:" * 15 + b"ffff " + b"x" * (107 - 14 - 35 - 2) + b"\r\n",
        without_address("UNKNOWN", 1),
    ),
    "v2": (v2(), ProxyHeader("TCP4", SOURCE, DESTINATION, version=2)),
    "v2, IPv6": (v2(0x21, 0x21, TCP6), ProxyHeader("TCP6", *OF_TCP6, version=2)),
    "v2, UDP": (v2(0x21, 0x12), ProxyHeader("UDP4", SOURCE, DESTINATION, version=2)),
    "v2, UDP, IPv6": (v2(0x21, 0x22, TCP6), ProxyHeader("UDP6", *OF_TCP6, version=2)),
    "v2, local": (v2(0x20, 0x00, b""), without_address("LOCAL")),
    "v2, local, with a block": (v2(0x20, 0x11, b"more"), without_address("LOCAL")),
    "v2, local, of no family": (v2(0x20, 0xFF, b""), without_address("LOCAL")),
    "v2, unspecified": (v2(0x21, 0x00, b""), without_address("UNSPEC")),
    "v2, unspecified, with a block": (v2(0x21, 0x00, b"\r\n\r\nx\n"), without_address("UNSPEC")),
    "v2, unspecified, with fields": (
        v2(0x21, 0x00, b"", tlv(1, b"h2")),
        without_address("UNSPEC", alpn="h2", tlvs=((1, b"h2"),)),
    ),
    "v2, no transport": (v2(0x21, 0x10), without_address("UNSPEC")),
    "v2, unix": (v2(0x21, 0x31, bytes(216)), without_address("UNIX")),
    "v2, unix, datagrams": (v2(0x21, 0x32, bytes(216)), without_address("UNIX")),
    "v2, the longest": (
        v2(0x21, 0x11, TCP4, tlv(4, bytes(16384 - 16 - 12 - 3))),
        ProxyHeader("TCP4", SOURCE, DESTINATION, version=2, tlvs=((4, bytes(16353)),)),
    ),
}
BAD = {
    "v1, without CR": V1.replace(b"\r", b""),
    "v1, CR alone": V1.replace(b"\r\n", b"\r") + V1,
    "v1, CR in what is ignored": b"PROXY UNKNOWN \rx\r\n",
    "v1, no protocol": b"PROXY \r\n",
    "v1, another protocol": V1.replace(b"TCP4", b"TCP5"),
    "v1, lower case": V1.replace(b"TCP4", b"tcp4"),
    "v1, longer than UNKNOWN": b"PROXY UNKNOWNS\r\n",
    "v1, another family": V1.replace(b"TCP4", b"TCP6"),
    "v1, two spaces": V1.replace(b" 258", b"  258"),
    "v1, a space behind": V1.replace(b"\r", b" \r"),
    "v1, a tab": V1.replace(b" 258", b"\t258"),
    "v1, one port": b"PROXY TCP4 192.0.2.7 198.51.100.9 258\r\n",
    "v1, a leading zero": V1.replace(b"258", b"0258"),
    "v1, an octal address": V1.replace(b"192.0.2.7", b"192.0.2.07"),
    "v1, a port too large": V1.replace(b"443", b"65536"),
    "v1, a port with a sign": V1.replace(b"443", b"+443"),
    "v1, a port in other digits": V1.replace(b"443", "\u0664".encode()),
    "v1, a short address": V1.replace(b"192.0.2.7", b"192.0.7"),
    "v1, a name": V1.replace(b"192.0.2.7", b"localhost"),
    "v1, a scope": b"PROXY TCP6 fe80::1%1 fe80::2 1 2\r\n",
    "v1, a NUL": V1.replace(b"192.0.2.7", b"192.0.2.7\0"),
    "v1, too long": b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n",
    "v1, endless": b"PROXY ".ljust(107, b"x"),
    "v2, version 1": v2(0x11),
    "v2, version 3": v2(0x31),
    "v2, another command": v2(0x22),
    "v2, another family": v2(0x21, 0x41),
    "v2, another transport": v2(0x21, 0x13),
    "v2, cut IPv4": v2(0x21, 0x11, TCP4[:-1]),
    "v2, cut IPv6": v2(0x21, 0x21, TCP4),
    "v2, cut unix": v2(0x21, 0x31, bytes(215)),
    "v2, too long": SIGNATURE + b"\x21\x11\x3f\xf1",
    "v2, a cut field": v2(0x21, 0x11, TCP4, b"\x01\x00"),
    "v2, a field too long": v2(0x21, 0x11, TCP4, b"\x01\x00\x02x"),
    "v2, a wrong checksum": summed(wrong=1),
    "v2, unspecified, a wrong checksum": v2(0x21, 0x00, b"", tlv(3, b"abcd")),
    "v2, a short checksum": v2(0x21, 0x11, TCP4, tlv(3, b"abc")),
    "v2, two checksums": summed(tlv(3, bytes(4))),
    "v2, a unique id too long": v2(0x21, 0x11, TCP4, tlv(5, bytes(129))),
    "v2, a cut field of TLS": v2(0x21, 0x11, TCP4, tlv(0x20, bytes(4))),
    "v2, a cut field in TLS": v2(0x21, 0x11, TCP4, tls_tlv(1, 0, b"\x21\x00")),
}
NO_HEADER = {
    "a request": REST,
    "P": b"POST / HTTP/1.1\r\n",
    "PROXY without a space": b"PROXYS / HTTP/1.1\r\n",
    "lower case": b"proxy TCP4",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "empty lines": b"\r\n\r\nGET / HTTP/1.1\r\n",
    "TLS": b"\x16\x03\x01",
    "a signature but for its end": SIGNATURE[:-1] + b"\r",
}


@pytest.mark.parametrize(("header", "says"), GOOD.values(), ids=GOOD)
def test_good(header, says):
    """Each kind is read, at once and a byte at a time, and what is behind it is returned."""
    assert parse(header + REST) == (says, REST)
    assert parse(header) == (says, b"")
    parser = ProxyParser("auto", is_trusted=True)
    for byte in header[:-1]:
        assert parser.feed(bytes([byte])) is None
        assert parser.has_begun
    assert parser.feed(header[-1:] + REST) == REST
    assert parser.header == says


@pytest.mark.parametrize("header", BAD.values(), ids=BAD)
def test_bad(header):
    """Each is refused, however it comes, before anything behind it is waited for."""
    with pytest.raises(ProxyHeaderError):
        parse(header)
    parser = ProxyParser("auto", is_trusted=True)
    with pytest.raises(ProxyHeaderError):
        for byte in header:
            assert parser.feed(bytes([byte])) is None


@pytest.mark.parametrize("data", NO_HEADER.values(), ids=NO_HEADER)
def test_no_header(data):
    """What is no header comes back whole."""
    assert parse(data) == (None, data)
    parser = ProxyParser("auto", is_trusted=True)
    held = b""
    for at, byte in enumerate(data):
        held += bytes([byte])
        if (rest := parser.feed(bytes([byte]))) is not None:
            assert rest == held == data[: at + 1]
            assert parser.belonging(b"") == 0
            return
        assert parser.held == 1
    pytest.fail("it was taken for a header")


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode):
    """Only the versions that are asked for are headers."""
    for version, header in (("v1", V1), ("v2", v2())):
        says, rest = parse(header + REST, mode)
        if mode in (version, "auto"):
            assert (says.protocol, rest) == ("TCP4", REST)
        else:
            assert (says, rest) == (None, header + REST)


@pytest.mark.parametrize("header", [V1, v2(), b"PROXY ", SIGNATURE])
def test_forbidden(header):
    """A peer that may not send one is refused as soon as it begins, and served without one."""
    with pytest.raises(ProxyForbiddenError):
        parse(header, is_trusted=False)
    assert parse(REST, is_trusted=False) == (None, REST)


def test_fields():
    """Each field of a header of version 2, typed."""
    fields = (
        tlv(1, b"h2"),
        tlv(2, "exämple.org".encode()),
        tlv(4, b"padding"),
        tlv(5, b"\0id\xff"),
        tls_tlv(
            0x01 | 0x02,
            0,
            tlv(0x21, b"TLSv1.3"),
            tlv(0x22, b"client.example"),
            tlv(0x23, b"TLS_AES_256_GCM_SHA384"),
            tlv(0x24, b"RSA-SHA256"),
            tlv(0x25, b"RSA2048"),
            tlv(0x26, b"X25519MLKEM768"),
            tlv(0x27, b"rsa_pss_rsae_sha256"),
            tlv(0x28, b"\x30\x82\x00"),
        ),
        tlv(0x30, b"blue"),
        tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9"),
        tlv(0xEE, b"\x01\x78\x56\x34\x12"),
        tlv(0xE0, bytes(6) + b"\x01\x02"),
    )
    for header in (v2(0x21, 0x11, TCP4, *fields), summed(*fields)):
        says, rest = parse(header + REST)
        assert rest == REST
        assert (says.source, says.destination) == (SOURCE, DESTINATION)
        assert (says.alpn, says.authority) == ("h2", "exämple.org")
        assert (says.unique_id, says.network_namespace) == (b"\0id\xff", "blue")
        tls = says.tls
        assert (tls.version, tls.common_name, tls.is_verified) == (
            "TLSv1.3",
            "client.example",
            True,
        )
        assert (tls.verify_result, tls.has_certificate) == (0, True)
        assert (tls.cipher, tls.signature_algorithm, tls.key_algorithm) == (
            "TLS_AES_256_GCM_SHA384",
            "RSA-SHA256",
            "RSA2048",
        )
        assert (tls.group, tls.signature_scheme) == ("X25519MLKEM768", "rsa_pss_rsae_sha256")
        assert tls.certificate == b"\x30\x82\x00"
        assert says.aws_vpc_endpoint_id == "vpce-08d2bf15fac5001c9"
        assert says.azure_link_id == 0x12345678
        assert says.gcp_psc_connection_id == 0x102
        assert (4, b"padding") in says.tlvs


@pytest.mark.parametrize(
    ("client", "verify", "is_verified"),
    [(1, 0, False), (3, 0, True), (5, 0, True), (3, 18, False), (1, 1, False)],
)
def test_verified(client, verify, is_verified):
    """A client is verified that has presented a certificate, and of whom no check has failed."""
    says, _ = parse(v2(0x21, 0x11, TCP4, tls_tlv(client, verify)))
    assert says.tls.is_verified is is_verified
    assert says.tls.common_name is None


def test_a_client_without_tls():
    says, _ = parse(v2(0x21, 0x11, TCP4, tls_tlv(0, 1)))
    assert says.tls is None


def test_fields_of_another_form():
    """Text that is not UTF-8 and the private fields of somebody else say nothing; they are kept."""
    fields = ((2, b"\xff"), (0xEA, b"\x02x"), (0xEA, b""), (0xEE, b"\x01xxx"), (0xE0, b"x"))
    says, _ = parse(v2(0x21, 0x11, TCP4, *(tlv(*each) for each in fields)))
    assert (says.authority, says.aws_vpc_endpoint_id) == (None, None)
    assert (says.azure_link_id, says.gcp_psc_connection_id) == (None, None)
    assert says.tlvs == fields


def test_of_two_fields_the_first():
    says, _ = parse(v2(0x21, 0x11, TCP4, tlv(2, b"first"), tlv(2, b"second")))
    assert says.authority == "first"


def headers():
    """Well-formed headers of any kind."""
    ports = st.integers(0, 65535)
    address4 = st.ip_addresses(v=4)
    address6 = st.ip_addresses(v=6)
    lines = st.one_of(
        st.tuples(st.just("TCP4"), address4, address4, ports, ports),
        st.tuples(st.just("TCP6"), address6, address6, ports, ports),
    ).map(lambda each: f"PROXY {' '.join(map(str, each))}\r\n".encode())
    fields = st.lists(
        st.tuples(st.integers(0x31, 0xDF), st.binary(max_size=20)).map(lambda each: tlv(*each)),
        max_size=4,
    )
    blocks = st.one_of(
        st.tuples(st.sampled_from([0x11, 0x12]), st.binary(min_size=12, max_size=12)),
        st.tuples(st.sampled_from([0x21, 0x22]), st.binary(min_size=36, max_size=36)),
        st.tuples(st.sampled_from([0x31, 0x32]), st.binary(min_size=216, max_size=216)),
    )
    binary = st.builds(lambda block, more: v2(0x21, *block, *more), blocks, fields)
    return st.one_of(lines, binary, fields.map(lambda more: summed(*more)))


@given(headers(), st.lists(st.integers(1, 40), max_size=12), st.binary(max_size=30))
def test_however_it_is_cut(header, sizes, rest):
    """It says the same and leaves the same; and `belonging` never reaches beyond it."""
    expected = parse(header + rest)
    assert expected[1] == rest
    parser, position, data = ProxyParser("auto", is_trusted=True), 0, header + rest
    exact, left = ProxyParser("auto", is_trusted=True), b""
    for size in [*sizes, len(data)]:
        part = data[position : position + size]
        position += len(part)
        if (found := parser.feed(part)) is not None:
            assert (parser.header, found + data[position:]) == expected
            break
    taken = 0
    for size in [*sizes, *[len(data)] * 4]:
        count = exact.belonging(data[taken : taken + size])
        assert taken + count <= len(header)
        left = exact.feed(data[taken : taken + count])
        taken += count
        if left is not None:
            break
    assert (exact.header, left, taken) == (expected[0], b"", len(header))


@given(st.binary(max_size=200), st.sampled_from(list(MODES)))
@example(b"PROXY TCP4 \xb2 \xb2 1 1\r\n", "auto")
@example(SIGNATURE, "auto")
def test_garbage(data, mode):
    """Whatever comes is no header, a part of one, or refused; nothing else is raised."""
    for prefix in (b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00\x20"):
        parser = ProxyParser(mode, is_trusted=True)
        try:
            rest = parser.feed(prefix + data)
        except ProxyHeaderError:
            continue
        if parser.header is None and rest is not None:
            assert rest == prefix + data


def test_the_text_of_an_address():
    """It is the kernel's, in whatever text the line has it."""
    says, _ = parse(b"PROXY TCP6 2001:0DB8:0:0:0:0:0:0001 ::ffff:192.0.2.1 1 2\r\n")
    assert says.source == ("2001:db8::1", 1)
    mapped = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, "::ffff:c000:201"))
    assert says.destination == (mapped, 2)
