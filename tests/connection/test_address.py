"""The texts of addresses."""

from __future__ import annotations

import pytest

from flask_rawsocket import RemoteAddr


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("192.0.2.1", 54321), "192.0.2.1:54321"),
        (("2001:db8::1", 443, 0, 0), "[2001:db8::1]:443"),
        (("::ffff:192.0.2.1", 80, 0, 0), "[::ffff:192.0.2.1]:80"),
        (("fe80::1%eth0", 80, 0, 2), "[fe80::1%eth0]:80"),
        ("/run/peer", "/run/peer"),
        (b"\0abstract", "\0abstract"),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        ("", ""),
    ],
)
def test_of_peer(address, text):
    """Every shape of address that a peer can have has its text."""
    assert RemoteAddr.of_peer(address) == text


def test_override():
    """A UNIX peer is named by its server's process and a number."""
    assert RemoteAddr.override(4711, 12) == "@4711.12"
