"""``TCPInfo`` and Linux' layout: whatever the length, never an exception, never an invented value.

The expectation is a second reading of the same bytes: one sequence of members in their order,
unpacked by ``struct`` as a whole, without an offset anywhere.
"""

from __future__ import annotations

import copy
import json
import pickle
import struct
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rawsocket.sockinfo import CongestionState, TCPInfo, TCPOptions, TCPState
from flask_rawsocket.sockinfo._tcp_info.layout_linux import (
    BIG,
    BIG_5_5,
    BIG_7,
    LITTLE,
    LITTLE_5_5,
    LITTLE_7,
    layout_of,
)

LAYOUTS = [LITTLE, LITTLE_5_5, LITTLE_7, BIG, BIG_5_5, BIG_7]

#: The lengths of every release's answer, with the release.
LENGTHS = {
    100: "2.6.9",
    104: "2.6.10",
    120: "3.15",
    136: "4.1",
    144: "4.2",
    160: "4.6",
    168: "4.9",
    192: "4.10",
    200: "4.18",
    224: "4.19",
    232: "5.4",
    240: "6.2",
    248: "6.7",
    280: "6.18",
}
#: Members in their order, with their struct code; "*" are words of bitfields.
MEMBERS = [
    *(("B", n) for n in ("state", "ca_state", "retransmits", "probes", "backoff", "options")),
    ("B", "*wscale"),
    ("B", "*flags"),
    *(("I", n) for n in ("rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost")),
    *(("I", n) for n in ("retrans", "fackets", "last_data_sent", "last_ack_sent")),
    *(("I", n) for n in ("last_data_recv", "last_ack_recv", "pmtu", "rcv_ssthresh", "rtt")),
    *(("I", n) for n in ("rttvar", "snd_ssthresh", "snd_cwnd", "advmss", "reordering")),
    *(("I", n) for n in ("rcv_rtt", "rcv_space", "total_retrans")),
    *(("Q", n) for n in ("pacing_rate", "max_pacing_rate", "bytes_acked", "bytes_received")),
    *(("I", n) for n in ("segs_out", "segs_in", "notsent_bytes", "min_rtt")),
    *(("I", n) for n in ("data_segs_in", "data_segs_out")),
    *(("Q", n) for n in ("delivery_rate", "busy_time", "rwnd_limited", "sndbuf_limited")),
    *(("I", n) for n in ("delivered", "delivered_ce")),
    *(("Q", n) for n in ("bytes_sent", "bytes_retrans")),
    *(("I", n) for n in ("dsack_dups", "reord_seen", "rcv_ooopack", "snd_wnd", "rcv_wnd")),
    *(("I", n) for n in ("rehash",)),
    *(("H", n) for n in ("total_rto", "total_rto_recoveries")),
    *(("I", n) for n in ("total_rto_time", "received_ce", "delivered_e1_bytes")),
    *(("I", n) for n in ("delivered_e0_bytes", "delivered_ce_bytes", "received_e1_bytes")),
    *(("I", n) for n in ("received_e0_bytes", "received_ce_bytes")),
    ("I", "*tail"),
]
MICROSECONDS = {"rto", "ato", "rtt", "rttvar", "rcv_rtt", "min_rtt"} | {
    "busy_time",
    "rwnd_limited",
    "sndbuf_limited",
}
MILLISECONDS = {"last_data_sent", "last_ack_sent", "last_data_recv", "last_ack_recv"} | {
    "total_rto_time"
}
NONE = {
    "snd_ssthresh": 0x7FFFFFFF,
    "min_rtt": 0xFFFFFFFF,
    "rcv_rtt": 0,
    "rtt": 0,
    "pacing_rate": 2**64 - 1,
    "max_pacing_rate": 2**64 - 1,
}
STATES = [
    *("ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE"),
    *("CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"),
]
CA_STATES = ["OPEN", "DISORDER", "CWR", "RECOVERY", "LOSS"]
SPECIAL = {
    "snd_wscale",
    "rcv_wscale",
    "delivery_rate_app_limited",
    "fastopen_client_fail",
    "ecn_mode",
    "accecn_opt_seen",
    "accecn_fail_mode",
    "options2",
}


def plain_decode(raw, order):
    """Return the members that ``raw`` holds whole, as plain numbers."""
    found, fmt = {}, order
    for code, name in MEMBERS:
        fmt += code
        if struct.calcsize(fmt) > len(raw):
            break
        found[name] = struct.unpack_from(fmt, raw)[-1]
    return found


def meaning(name, number):
    """Return what the package should make of a member's number."""
    if number == NONE.get(name, -1):
        return None
    if name in MICROSECONDS:
        return number / 1_000_000
    if name in MILLISECONDS:
        return number / 1_000
    if name == "state":
        return STATES[number - 1] if 1 <= number <= len(STATES) else None
    if name == "ca_state":
        return CA_STATES[number] if number < len(CA_STATES) else None
    return number


def check(raw, layout, order):
    """Compare every field of ``raw`` with the plain decode."""
    info = layout.decode(raw)
    expected = plain_decode(raw, order)
    for name, number in expected.items():
        if not name.startswith("*"):
            assert getattr(info, name) == meaning(name, number), name
    for field in TCPInfo.fields():
        if field.name not in SPECIAL and field.name not in expected:
            assert getattr(info, field.name) is None, field.name
    assert set(info.as_dict()) == {f.name for f in TCPInfo.fields() if f.since}
    assert info.raw == raw
    assert repr(info).startswith("<TCPInfo ")
    return info


def test_the_members_make_up_the_structure():
    """The expectation's own table ends where the 7.0 structure ends."""
    assert struct.calcsize("=" + "".join(code for code, _ in MEMBERS)) == 280


@settings(deadline=None, max_examples=400)
@given(raw=st.binary(max_size=600))
def test_any_bytes_decode(raw):
    """Random bytes of any length decode to the plain reading, absent fields to None."""
    for layout in LAYOUTS:
        check(raw, layout, layout.order)


@pytest.mark.slow
@settings(deadline=None, max_examples=10)
@given(filler=st.binary(min_size=600, max_size=600))
def test_every_length_decodes(filler):
    """All lengths from 0 to 600 decode, with the same field values at each."""
    for length in range(601):
        check(filler[:length], LITTLE_7, "<")


@pytest.mark.parametrize("length", LENGTHS)
def test_a_release_returns_its_fields(length):
    """A field is present just when the release that brought it is no newer than the answer."""

    def release(text):
        return tuple(int(part) for part in text.split()[0].split("."))

    info = LITTLE.decode(bytes([1]) * length)
    for field in TCPInfo.fields():
        if field.since is None or field.since == "7.0":
            assert getattr(info, field.name) is None, field.name
        elif field.name == "fastopen_client_fail":
            assert (info.fastopen_client_fail is None) == (length < 240)
            later = LITTLE_5_5.decode(bytes([1]) * length)
            assert (later.fastopen_client_fail is None) == (length < 232)
        else:
            known = release(field.since) <= release(LENGTHS[length])
            assert (getattr(info, field.name) is not None) == known, field.name


@pytest.mark.parametrize(("layout", "nibbles"), [(LITTLE, 0xA7), (BIG, 0x7A)])
def test_window_scales_are_nibbles_of_either_byte_order(layout, nibbles):
    """snd_wscale is the first bitfield: the low nibble here, the high one on big-endian."""
    info = layout.decode(bytes(6) + bytes([nibbles]) + bytes(273))
    assert (info.snd_wscale, info.rcv_wscale) == (7, 10)


@pytest.mark.parametrize(("layout", "byte"), [(LITTLE, 0b0000_0101), (BIG, 0b1100_0000)])
def test_flag_bits_of_either_byte_order(layout, byte):
    """The flag is one bit, the Fast Open failure the two next to it."""
    info = layout.decode(bytes(7) + bytes([byte]) + bytes(272))
    assert info.delivery_rate_app_limited is True
    assert info.fastopen_client_fail == 2


def test_padding_of_old_kernels_is_not_a_flag():
    """The byte at offset 7 was padding before 4.9: with such an answer both fields are None."""
    info = LITTLE.decode(b"\xff" * 160)
    assert info.delivery_rate_app_limited is None
    assert info.fastopen_client_fail is None
    assert LITTLE.decode(b"\xff" * 168).delivery_rate_app_limited is True


def test_padding_of_5_4_is_no_failure():
    """5.4 answers as much as 5.5 and has padding there; what is longer has the bits for sure."""
    assert LITTLE.decode(bytes(232)).fastopen_client_fail is None
    assert LITTLE_5_5.decode(bytes(232)).fastopen_client_fail == 0
    assert LITTLE_7.decode(bytes(232)).fastopen_client_fail == 0
    assert LITTLE.decode(bytes(240)).fastopen_client_fail == 0


@pytest.mark.parametrize(
    ("layout", "word"),
    [
        (LITTLE_7, struct.pack("<I", 2 | 1 << 2 | 9 << 4 | 0xABCDE << 8)),
        (BIG_7, struct.pack(">I", 2 << 30 | 1 << 28 | 9 << 24 | 0xABCDE)),
    ],
)
def test_tail_of_7_0(layout, word):
    """The word at offset 276 is four bitfields from 7.0 on."""
    info = layout.decode(bytes(276) + word)
    assert (info.ecn_mode, info.accecn_opt_seen) == (2, 1)
    assert (info.accecn_fail_mode, info.options2) == (9, 0xABCDE)


@pytest.mark.parametrize(
    ("release", "byteorder", "layout"),
    [
        ("6.18.44-generic", "little", LITTLE_5_5),
        ("7.0.0", "little", LITTLE_7),
        ("7", "little", LITTLE_7),
        ("10.1-rc2", "big", BIG_7),
        ("5.5.0-rc1", "little", LITTLE_5_5),
        ("5.10", "big", BIG_5_5),
        ("5.4.0-150-generic", "little", LITTLE),
        ("5.4", "big", BIG),
        ("4.18.0-553.el8", "little", LITTLE),
        ("odd", "little", LITTLE),
        ("", "little", LITTLE),
    ],
)
def test_the_release_decides(release, byteorder, layout):
    """Below 5.5, below 7.0, or where the release cannot be read, something is not known."""
    assert layout_of(release, byteorder) is layout


def test_the_tail_of_6_18_is_none():
    """Bits that 6.18 wrote there are not read as 7.0's."""
    info = LITTLE.decode(b"\xff" * 280)
    assert [info.ecn_mode, info.accecn_opt_seen, info.accecn_fail_mode, info.options2] == [None] * 4


def test_enums_are_shared_values():
    """States, recovery states and options are enums; a number without a name is None or kept."""
    info = LITTLE.decode(bytes([10, 3, 0, 0, 0, 0x47]) + bytes(274))
    assert info.state is TCPState.LISTEN
    assert info.ca_state is CongestionState.RECOVERY
    assert info.options == TCPOptions.TIMESTAMPS | 2 | TCPOptions.WSCALE | TCPOptions.USEC_TS
    assert LITTLE.decode(bytes([99, 99])).state is None
    assert LITTLE.decode(bytes([99, 99])).ca_state is None


def test_value_semantics():
    """Equality, hash, pickle and copy go by the bytes and their layout."""
    raw = bytes(range(256)) + bytes(24)
    info = LITTLE.decode(raw)
    assert info == LITTLE.decode(raw)
    assert hash(info) == hash(LITTLE.decode(raw))
    assert info != LITTLE.decode(raw[:-1])
    assert info != LITTLE_7.decode(raw)
    assert info != raw
    for layout in LAYOUTS:
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            twin = pickle.loads(pickle.dumps(layout.decode(raw), protocol))
            assert twin == layout.decode(raw)
            assert twin.as_dict() == layout.decode(raw).as_dict()
    assert copy.deepcopy(info) == copy.copy(info) == info


def test_frozen():
    """No attribute can be set or deleted, a present one as little as an absent one."""
    info = LITTLE.decode(bytes(104))
    for name in ("rtt", "rcv_wnd", "raw", "_raw", "anything"):
        with pytest.raises(AttributeError):
            setattr(info, name, 1)
        with pytest.raises(AttributeError):
            delattr(info, name)


def test_repr_is_short():
    """The repr tells the state, what one looks for first, and the length."""
    raw = bytearray(280)
    raw[0] = 1
    raw[68:72] = struct.pack("<I", 1500)
    raw[80:84] = struct.pack("<I", 10)
    shown = "<TCPInfo ESTABLISHED rtt=0.0015 snd_cwnd=10 unacked=0 total_retrans=0"
    assert repr(LITTLE.decode(bytes(raw))) == f"{shown} (Linux, 280 bytes)>"
    assert repr(LITTLE.decode(b"")) == "<TCPInfo None (Linux, 0 bytes)>"


def test_as_dict_is_json():
    """The dictionary goes into JSON as it is; states by their names."""
    data = json.loads(json.dumps(LITTLE.decode(bytes([1]) * 280).as_dict()))
    assert data["state"] == "ESTABLISHED"
    assert data["ecn_mode"] is None


def test_fields_describe_themselves():
    """Every field has a unit, a meaning and a docstring; Linux' have a release."""
    fields = TCPInfo.fields()
    assert len({field.name for field in fields}) == len(fields)
    for field in fields:
        assert field.unit
        assert field.meaning
        assert field.meaning in getattr(TCPInfo, field.name).__doc__
    since = {field.name: field.since for field in fields}
    assert since["rtt"] == "2.6.9 or before"
    assert since["rcv_wnd"] == "6.2"
    assert since["snd_cwnd_bytes"] is None


def test_a_field_of_an_instance_has_its_docstring():
    """The property that decodes a field keeps the docstring of its declaration."""
    info = LITTLE.decode(bytes(280))
    assert type(info).rtt.__doc__ == TCPInfo.rtt.__doc__


def test_classes_stay_few():
    """Answers of any length share the classes of the lengths that hold the same fields."""
    for length in range(2000):
        LITTLE.decode(bytes(length))
    assert type(LITTLE.decode(bytes(281))) is type(LITTLE.decode(bytes(1999)))
    assert len(LITTLE.classes) <= 1025


def test_the_layout_of_this_machine():
    """A live decode uses this machine's byte order."""
    assert layout_of("6.1") is (LITTLE_5_5 if sys.byteorder == "little" else BIG_5_5)
