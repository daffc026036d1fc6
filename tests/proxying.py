"""PROXY protocol headers as proxies send them, built by the specification."""

from __future__ import annotations

import socket
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CRC32C = 3
TCP4 = (
    socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.9") + struct.pack("!HH", 258, 443)
)
TCP6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::9")
    + struct.pack("!HH", 258, 443)
)
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.9 258 443\r\n"
SOURCE, DESTINATION = ("192.0.2.7", 258), ("198.51.100.9", 443)


def crc32c(data):
    """Compute it bit by bit, as RFC 4960, appendix B, defines it; and not as the package does."""
    value = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            feedback = (value ^ byte >> bit) & 1
            value >>= 1
            if feedback:
                value ^= 0x82F63B78
    return value ^ 0xFFFFFFFF


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def tls_tlv(client, verify, *inner):
    return tlv(0x20, struct.pack("!BI", client, verify) + b"".join(inner))


def v2(command=0x21, family=0x11, block=TCP4, *tlvs):
    """Build a header of version 2."""
    block += b"".join(tlvs)
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


def summed(*tlvs, wrong=0):
    """Build one with a checksum before `tlvs`."""
    header = v2(0x21, 0x11, TCP4, tlv(CRC32C, bytes(4)), *tlvs)
    place = len(SIGNATURE) + 4 + len(TCP4) + 3
    return header[:place] + struct.pack("!I", crc32c(header) ^ wrong) + header[place + 4 :]
