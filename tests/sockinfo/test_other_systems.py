"""macOS, the BSDs and Windows: their decoders on bytes built from the layouts, anywhere.

What calls those systems is run against sockets that return recorded answers; none of it was run
on the systems themselves.
"""

from __future__ import annotations

import ctypes
import errno
import inspect
import os
import pickle
import re
import socket
import struct
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rawsocket import sockinfo
from flask_rawsocket.errors import ConnectionBrokenError, ConnectionClosedError, UnsupportedError
from flask_rawsocket.sockinfo import (
    Options,
    PeerCredentials,
    PeerStatus,
    Queues,
    TCPInfo,
    TCPState,
    field_table,
)
from flask_rawsocket.sockinfo._options import OptionSet
from flask_rawsocket.sockinfo._systems import bsd as _bsd
from flask_rawsocket.sockinfo._systems import darwin as _darwin
from flask_rawsocket.sockinfo._systems import fallback as _fallback
from flask_rawsocket.sockinfo._systems import linux as _linux
from flask_rawsocket.sockinfo._systems import posix as _kqueue
from flask_rawsocket.sockinfo._systems import posix as _posix
from flask_rawsocket.sockinfo._systems import windows as _windows
from flask_rawsocket.sockinfo._tcp_info.layout_bsd import (
    FREEBSD,
    FREEBSD_14,
    NETBSD,
    OPENBSD,
    layout_of,
)
from flask_rawsocket.sockinfo._tcp_info.layout_darwin import DARWIN
from flask_rawsocket.sockinfo._tcp_info.layout_linux import LITTLE, LITTLE_5_5, LITTLE_7
from flask_rawsocket.sockinfo._tcp_info.layout_windows import WINDOWS

SYSTEMS = [_linux, _darwin, _bsd, _windows, _fallback]
OTHERS = [DARWIN, FREEBSD, FREEBSD_14, NETBSD, OPENBSD, WINDOWS]
BSD_STATES = [
    *("CLOSE", "LISTEN", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1"),
    *("CLOSING", "LAST_ACK", "FIN_WAIT2", "TIME_WAIT"),
]
WINDOWS_STATES = [
    *("CLOSE", "LISTEN", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2"),
    *("CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT"),
]


@pytest.fixture
def recorded_ioctl(monkeypatch):
    """Ioctls answer the low byte of their number: Linux has others than the BSDs."""
    for module in (_darwin, _bsd):
        monkeypatch.setattr(module, "ioctl_int", lambda _sock, request, _name: request & 0xFF)


def no(number):
    return OSError(number, os.strerror(number))


# -- The contract ------------------------------------------------------------------------------


@pytest.mark.parametrize("module", SYSTEMS, ids=lambda module: module.__name__[-8:])
def test_same_names_and_signatures(module):
    """Each system's file has the functions of Linux' with the same parameters."""
    assert sorted(module.__all__) == sorted(_linux.__all__)
    for name in set(_linux.__all__) - {"OPTIONS", "SYSTEM"}:
        parameters = inspect.signature(getattr(_linux, name)).parameters
        assert list(inspect.signature(getattr(module, name)).parameters) == list(parameters), name
        assert inspect.getdoc(getattr(module, name))


@pytest.mark.parametrize("module", SYSTEMS, ids=lambda module: module.__name__[-8:])
def test_options_are_a_subset(module):
    """No system has an option that ``Options`` does not declare."""
    assert set(module.OPTIONS) <= {name for name in vars(OptionSet) if not name.startswith("_")}


def test_all_is_what_there_is():
    """Every public name exists, once."""
    assert len(set(sockinfo.__all__)) == len(sockinfo.__all__)
    for name in sockinfo.__all__:
        assert getattr(sockinfo, name) is not None


@pytest.mark.parametrize(
    "layout", [LITTLE, LITTLE_5_5, LITTLE_7, *OTHERS], ids=lambda layout: layout.name
)
def test_every_item_is_a_declared_field(layout):
    """A layout has no field that ``TCPInfo`` does not declare."""
    assert set(layout.items) <= {field.name for field in TCPInfo.fields()}
    assert pickle.loads(pickle.dumps(layout)) is layout


def test_the_table_knows_every_field():
    """Each field is on some system, and Linux has just those with a Linux release."""
    rows = {row.name: row for row in field_table()}
    assert len(rows) == len(TCPInfo.fields())
    for row in rows.values():
        assert row.systems
        assert ("Linux" in row.systems) == (row.since is not None)
    assert rows["rtt"].systems == ("Linux", "macOS", "FreeBSD", "NetBSD", "OpenBSD", "Windows")
    assert rows["snd_cwnd"].systems == ("Linux",)


BSDS = {"FreeBSD", "NetBSD", "OpenBSD"}


def test_the_table_names_the_right_systems():
    """A system that a field's meaning puts into parentheses is one that has it, and all that do."""
    named = {}
    for row in field_table():
        if found := re.search(r" \((macOS|\w*BSD|Windows)\b([^)]*)\)$", row.meaning):
            words = re.findall(r"[A-Za-z]+", found[0])
            named[row.name] = set(words) - {"BSD"} | (BSDS if "BSD" in words else set())
            assert set(row.systems) == named[row.name], row.name
    assert len(named) == sum(row.since is None for row in field_table())


@settings(deadline=None, max_examples=200)
@given(raw=st.binary(max_size=600))
def test_any_bytes_decode(raw):
    """Random bytes of any length never fail, and a field beyond their end is None."""
    for layout in OTHERS:
        info = layout.decode(raw)
        for name, item in layout.items.items():
            if item.end > len(raw):
                assert getattr(info, name) is None
            elif item.how is None:
                plain = struct.unpack_from(layout.order + item.code, raw, item.offset)
                assert getattr(info, name) == plain[0]
        assert list(info.as_dict()) == list(layout.items)
        assert pickle.loads(pickle.dumps(info)) == info


# -- macOS -------------------------------------------------------------------------------------


def darwin_bytes(state=4):
    """Return a ``struct tcp_connection_info`` as macOS would, in the order of its members."""
    return struct.pack(
        "<BBBx12II7Q",
        *(state, 6, 7),
        *(7, 1, 230, 1448, 65535, 14480, 131072, 500, 262144, 12, 15, 4),
        3,
        *(10, 1000, 20, 30, 3000, 40, 2),
    )


def test_darwin_layout():
    """Times are seconds of milliseconds, the window has the name of its unit."""
    raw = darwin_bytes()
    info = DARWIN.decode(raw)
    assert len(raw) == 112
    assert (info.state, info.snd_wscale, info.rcv_wscale) == ("ESTABLISHED", 6, 7)
    assert (info.options, info.flags, info.rto) == (7, 1, 0.23)
    assert (info.snd_mss, info.snd_ssthresh_bytes, info.snd_cwnd_bytes) == (1448, 65535, 14480)
    assert (info.snd_wnd, info.snd_sbbytes, info.rcv_wnd) == (131072, 500, 262144)
    assert (info.rttcur, info.rtt, info.rttvar, info.tfo) == (0.012, 0.015, 0.004, 3)
    assert (info.txpackets, info.txbytes, info.bytes_retrans) == (10, 1000, 20)
    assert (info.rxpackets, info.rxbytes, info.rxoutoforderbytes) == (30, 3000, 40)
    assert info.total_retrans == 2
    assert info.snd_cwnd is None
    assert info.min_rtt is None
    assert "macOS, 112 bytes" in repr(info)
    states = [DARWIN.decode(darwin_bytes(n)).state for n in range(11)]
    assert states == BSD_STATES
    assert DARWIN.decode(darwin_bytes(11)).state is None


def test_darwin_calls(recorded, recorded_ioctl):
    """The option's numbers and structures are macOS' own."""
    answers = {(6, 0x106): darwin_bytes(), (0xFFFF, 0x1024): 77}
    sock = recorded(answers)
    assert _darwin.tcp_info(sock).rtt == 0.015
    assert _darwin.queues(sock) == Queues(0x7F, 77, None)
    _darwin.set_dead_peer_timeout(sock, 9.5)
    assert answers[6, 0x80] == 10
    assert (answers[6, 0x10], answers[6, 0x101], answers[6, 0x102]) == (5, 2, 2)
    assert answers[0xFFFF, 8] == 1
    _darwin.set_dead_peer_timeout(sock, None)
    assert (answers[6, 0x80], answers[0xFFFF, 8]) == (0, 0)
    _darwin.abort(sock)
    assert answers[0xFFFF, 0x80] == struct.pack("@ii", 1, 0)
    answers[0xFFFF, 0x1024] = no(errno.EPERM)
    with pytest.raises(PermissionError, match="queues"):
        _darwin.queues(sock)
    answers[6, 0x106] = no(errno.EOPNOTSUPP)
    with pytest.raises(UnsupportedError, match="tcp_info"):
        _darwin.tcp_info(sock)


def test_darwin_credentials(recorded, recorded_ioctl):
    """The first group is the effective one; the pid is gone with the peer."""
    xucred = struct.pack("=IIh2x16I", 0, 501, 3, 20, 12, 61, *range(13))
    answers = {(0, 1): xucred, (0, 2): 4711}
    sock = recorded(answers, socket.AF_UNIX)
    assert len(xucred) == 76
    assert _darwin.peer_credentials(sock) == PeerCredentials(4711, 501, 20, (12, 61))
    answers[0, 2] = no(errno.ENOTCONN)
    assert _darwin.peer_credentials(sock).pid is None
    answers[0, 1] = no(errno.ENOTCONN)
    with pytest.raises(ConnectionBrokenError):
        _darwin.peer_credentials(sock)
    with pytest.raises(UnsupportedError, match="AF_INET"):
        _darwin.peer_credentials(recorded(answers))
    assert _darwin.queues(sock) == Queues(0x7F, None, None)


# -- The BSDs ----------------------------------------------------------------------------------


def bsd_bytes(length, system="FreeBSD"):
    """Return a BSD's ``struct tcp_info`` of some length: each u32 holds its offset."""
    raw = bytearray(b"".join(struct.pack("=I", offset) for offset in range(0, length, 4)))
    scales = bytes([6, 7]) if system == "OpenBSD" else bytes([0x76, 0])
    if sys.byteorder == "big" and system != "OpenBSD":
        scales = bytes([0x67, 0])
    raw[:8] = bytes([4, 0, 0, 0, 0, 0x17]) + scales
    return bytes(raw)


@pytest.mark.parametrize(
    ("layout", "length"), [(FREEBSD, 236), (FREEBSD_14, 240), (NETBSD, 236), (OPENBSD, 212)]
)
def test_bsd_layouts(layout, length):
    """Members that all BSDs fill lie where Linux had them in 2005; times are microseconds."""
    info = layout.decode(bsd_bytes(length, layout.system))
    assert (info.state, info.options, info.snd_wscale, info.rcv_wscale) == ("ESTABLISHED", 7, 6, 7)
    assert (info.rto, info.snd_mss, info.rcv_mss) == (8 / 1e6, 16, 20)
    assert (info.last_data_recv, info.rtt, info.rttvar) == (52 / 1e6, 68 / 1e6, 72 / 1e6)
    assert (info.snd_ssthresh_bytes, info.snd_cwnd_bytes, info.rcv_space) == (76, 80, 96)
    assert info.snd_cwnd is None
    assert info.unacked is None
    assert info.snd_wnd == (None if layout is OPENBSD else 100)
    assert info.snd_nxt == (None if layout is OPENBSD else 108)
    assert info.snd_zerowin == (None if layout is OPENBSD else 128)


def test_freebsd_14():
    """The later fields are read from 14 on only, where a zero is a count and not padding.

    The smallest round-trip time of 15 is not read: it has no unit that holds for every TCP stack.
    """
    info = FREEBSD_14.decode(bsd_bytes(256))
    assert (info.delivered_ce, info.received_ce, info.total_tlp) == (132, 136, 164)
    assert info.total_tlp_bytes == int.from_bytes(bsd_bytes(256)[168:176], sys.byteorder)
    assert (info.snd_una, info.snd_max, info.rcv_numsacks) == (176, 180, 184)
    assert (info.rcv_adv, info.dupacks, info.min_rtt) == (188, 192, None)
    assert FREEBSD_14.decode(bsd_bytes(240)).as_dict() == info.as_dict()
    assert FREEBSD.decode(bsd_bytes(236)).delivered_ce is None
    assert layout_of("FreeBSD", "14.1-RELEASE") is FREEBSD_14
    assert layout_of("FreeBSD", "13.3-RELEASE") is FREEBSD
    assert layout_of("NetBSD", "10.0") is NETBSD
    assert layout_of("OpenBSD", "7.5") is OPENBSD


def test_bsd_credentials(recorded, monkeypatch):
    """Three BSDs, three structures: the order of the ids differs."""
    xucred = struct.pack("@IIh16I4xi4x", 0, 1001, 2, 100, 5, *range(14), 4711)
    assert len(xucred) == 88
    freebsd = recorded({(0, 1): xucred}, socket.AF_UNIX)
    assert _bsd.peer_credentials(freebsd) == PeerCredentials(4711, 1001, 100, (5,))
    monkeypatch.setattr(_bsd, "_HERE", _bsd._NETBSD)
    netbsd = recorded({(0, 3): struct.pack("=iII", 9, 10, 11)}, socket.AF_UNIX)
    assert _bsd.peer_credentials(netbsd) == PeerCredentials(9, 10, 11, None)
    monkeypatch.setattr(_bsd, "_HERE", _bsd._OPENBSD)
    openbsd = recorded({(0xFFFF, 0x1022): struct.pack("=IIi", 10, 11, 9)}, socket.AF_UNIX)
    assert _bsd.peer_credentials(openbsd) == PeerCredentials(9, 10, 11, None)
    openbsd.answers[0xFFFF, 0x1022] = no(errno.ENOTCONN)
    with pytest.raises(ConnectionBrokenError):
        _bsd.peer_credentials(openbsd)
    with pytest.raises(UnsupportedError, match="AF_INET"):
        _bsd.peer_credentials(recorded({}))


def test_freebsd_calls(recorded, recorded_ioctl, monkeypatch):
    """Of a FreeBSD: the numbers of its options, and what goes wrong with them."""
    monkeypatch.setattr(_bsd, "_LAYOUT", FREEBSD_14)
    answers = {(6, 32): bsd_bytes(256), (6, 64): b"newreno\0\0"}
    sock = recorded(answers)
    assert _bsd.tcp_info(sock).rtt == 68 / 1e6
    assert _bsd.congestion(sock) == "newreno"
    _bsd.set_congestion(sock, "cubic")
    with pytest.raises(ValueError, match="has a NUL in it"):
        _bsd.set_congestion(sock, "cubic\0x")
    assert answers[6, 64] == b"cubic\0"
    assert _bsd.queues(sock) == Queues(0x7F, 0x77, None)
    _bsd.set_dead_peer_timeout(sock, 8)
    assert (answers[6, 68], answers[6, 256], answers[6, 512], answers[6, 1024]) == (8, 4, 2, 2)
    _bsd.set_dead_peer_timeout(sock, None)
    assert (answers[6, 68], answers[0xFFFF, 8]) == (0, 0)
    answers[6, 32] = answers[6, 64] = no(errno.ENOPROTOOPT)
    for call in (_bsd.tcp_info, _bsd.congestion):
        with pytest.raises(UnsupportedError):
            call(sock)


@pytest.mark.parametrize("number", [errno.ESRCH, errno.ENOENT], ids=["FreeBSD", "NetBSD"])
def test_no_such_congestion_on_a_bsd(recorded, number):
    """An unknown algorithm is unsupported, by name, whichever errno says so."""
    sock = recorded({})
    sock.refuses = no(number)
    with pytest.raises(UnsupportedError, match="'vegas': this kernel has no such algorithm"):
        _bsd.set_congestion(sock, "vegas")


def test_bsds_without(recorded, recorded_ioctl, monkeypatch):
    """OpenBSD has neither algorithms nor a user timeout nor a count of the send queue."""
    monkeypatch.setattr(_bsd, "_HERE", _bsd._OPENBSD)
    sock = recorded({})
    assert _bsd.queues(sock) == Queues(0x7F, None, None)
    for call in (
        _bsd.congestion,
        lambda sock: _bsd.set_congestion(sock, "cubic"),
        lambda sock: _bsd.set_dead_peer_timeout(sock, 5),
    ):
        with pytest.raises(UnsupportedError):
            call(sock)


@pytest.mark.parametrize("module", [_darwin, _bsd], ids=["macOS", "BSD"])
def test_closed_on_other_systems(pair, module):
    """A closed socket says so there, too."""
    server, _ = pair("unix")
    server.close()
    for name in set(module.__all__) - {"OPTIONS", "SYSTEM"}:
        arguments = {"set_congestion": ("cubic",), "set_dead_peer_timeout": (5,)}.get(name, ())
        with pytest.raises(ConnectionClosedError):
            getattr(module, name)(server, *arguments)


# -- kqueue ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], PeerStatus.OPEN),
        ([(True, False, 0), (False, False, 0)], PeerStatus.OPEN),
        ([(True, True, 0), (False, False, 0)], PeerStatus.FIN_RECEIVED),
        ([(False, True, 0)], PeerStatus.OPEN),
        ([(True, True, 0), (False, True, 0)], PeerStatus.CLOSED),
        ([(True, True, errno.ECONNRESET)], PeerStatus.RESET),
        ([(False, True, errno.ETIMEDOUT)], PeerStatus.RESET),
    ],
)
def test_kqueue_events(events, status):
    """EOF of the reading direction is a FIN, of both is a close, with an error a reset."""
    assert _kqueue.status_of(_kqueue.Event(*event) for event in events) is status


class Kqueue:
    """A stand-in for the system's kqueue, which Linux has not: it replays events."""

    KQ_FILTER_READ, KQ_FILTER_WRITE = -1, -2
    events = ()
    closed = 0

    def kevent(self, ident, filter_, flags):
        return SimpleNamespace(ident=ident, filter=filter_, flags=flags, fflags=0)

    def kqueue(self):
        return self

    def control(self, changes, count, timeout):
        assert [(c.filter, c.flags) for c in changes] == [(-1, 1), (-2, 1)]
        assert (count, timeout) == (2, 0)
        if isinstance(self.events, OSError):
            raise self.events
        return self.events

    def close(self):
        self.closed += 1


def test_kqueue_calls(pair, monkeypatch):
    """Both directions are asked about, the kqueue is closed again, errors are translated."""
    system = Kqueue()
    monkeypatch.setattr(_kqueue, "pristine", system)
    server, _ = pair("tcp4")
    system.events = [SimpleNamespace(filter=-1, flags=0x8001, fflags=errno.ECONNRESET)]
    assert _kqueue.peer_status(server) is PeerStatus.RESET
    system.events = [SimpleNamespace(filter=-1, flags=0x8001, fflags=0)]
    assert _kqueue.peer_status(server) is PeerStatus.FIN_RECEIVED
    system.events = [SimpleNamespace(filter=-2, flags=1, fflags=12)]
    assert _kqueue.peer_status(server) is PeerStatus.OPEN
    system.events = no(errno.EBADF)
    with pytest.raises(ConnectionClosedError):
        _kqueue.peer_status(server)
    assert system.closed == 4


def test_posix_ioctl(pair):
    """The shared ioctl returns an int, and names the operation that failed."""
    server, _ = pair("tcp4")
    assert _posix.ioctl_int(server, 0x5411, "queues") == 0  # TIOCOUTQ of Linux
    with pytest.raises(UnsupportedError, match="queues"):
        _posix.ioctl_int(pair("unix")[0], 0x894B, "queues")


# -- Windows -----------------------------------------------------------------------------------


def windows_bytes(version=1, state=4):
    """Return a ``TCP_INFO_v0`` or ``v1`` as Windows would, in the order of its members."""
    raw = struct.pack(
        "<IIQB3xIIIIIIIQQIIIIIB3x",
        *(state, 1460, 12_345, 1, 15_000, 9_000, 700, 14_600, 65_535, 262_144, 524_288),
        *(111, 222, 3, 4, 5, 6, 7, 8),
    )
    if version:
        raw += struct.pack("<IIQIIQIIQ", 1, 2, 3, 4, 5, 6, 7, 8, 9)
    return raw


def test_windows_layout():
    """Version 0 is the beginning of version 1."""
    info = WINDOWS.decode(windows_bytes())
    assert len(windows_bytes()) == 136
    assert (info.state, info.snd_mss, info.connection_time) == ("ESTABLISHED", 1460, 12.345)
    assert (info.timestamps_enabled, info.rtt, info.min_rtt) == (True, 0.015, 0.009)
    assert (info.bytes_in_flight, info.snd_cwnd_bytes, info.snd_wnd) == (700, 14_600, 65_535)
    assert (info.rcv_wnd, info.rcv_buf, info.bytes_out, info.bytes_in) == (262144, 524288, 111, 222)
    assert (info.bytes_reordered, info.bytes_retrans, info.fast_retrans) == (3, 4, 5)
    assert (info.dup_acks_in, info.timeout_episodes, info.syn_retrans) == (6, 7, 8)
    assert (info.snd_lim_trans_rwin, info.snd_lim_time_rwin, info.snd_lim_bytes_rwin) == (
        1,
        0.002,
        3,
    )
    assert (info.snd_lim_trans_cwnd, info.snd_lim_time_cwnd, info.snd_lim_bytes_cwnd) == (
        4,
        0.005,
        6,
    )
    assert (info.snd_lim_trans_snd, info.snd_lim_time_snd, info.snd_lim_bytes_snd) == (7, 0.008, 9)
    older = WINDOWS.decode(windows_bytes(0))
    assert len(older.raw) == 88
    assert older.syn_retrans == 8
    assert older.snd_lim_trans_rwin is None
    assert [WINDOWS.decode(windows_bytes(0, n)).state for n in range(11)] == WINDOWS_STATES


class Winsock:
    """A stand-in for ``ws2_32.dll``, which Linux has not: it fills in recorded answers."""

    def __init__(self):
        self.answers = {}
        """By control code and input: bytes, or a Winsock error."""
        self.error = 0

    def WSAIoctl(self, *arguments):  # noqa: N802 - Windows' name
        _sock, code, given, _length, answer, room, *_ = arguments
        found = self.answers[code.value, given]
        if isinstance(found, int):
            self.error = found
            return -1
        assert room.value == len(found)
        ctypes.memmove(answer, found, len(found))
        return 0

    def WSAGetLastError(self):  # noqa: N802
        return self.error


@pytest.fixture
def winsock(monkeypatch):
    """Winsock with recorded answers, in the place of the DLL."""
    made = Winsock()

    def win_error(number):
        # As Python does: some of Winsock's numbers become C's (PC/errmap.h), here EINVAL.
        names = {10038: errno.ENOTSOCK, 10045: errno.EOPNOTSUPP, 10054: errno.ECONNRESET}
        error = no(names.get(number, errno.EINVAL))
        if number == 10022:
            error.winerror = number
        return error

    monkeypatch.setattr(ctypes, "WinDLL", lambda *_a, **_k: made, raising=False)
    monkeypatch.setattr(ctypes, "WinError", win_error, raising=False)
    return made


ONE, ZERO = struct.pack("=I", 1), struct.pack("=I", 0)
SIO_TCP_INFO = 0xD8000027


def test_windows_tcp_info(winsock, pair):
    """Version 1 is asked for first, then version 0; a Windows without either is unsupported."""
    server, _ = pair("tcp4")
    winsock.answers = {(SIO_TCP_INFO, ONE): windows_bytes()}
    assert _windows.tcp_info(server).raw == windows_bytes()
    winsock.answers = {(SIO_TCP_INFO, ONE): 10022, (SIO_TCP_INFO, ZERO): windows_bytes(0)}
    assert _windows.tcp_info(server).raw == windows_bytes(0)
    for number in (10022, 10045):
        winsock.answers = {(SIO_TCP_INFO, ONE): 10022, (SIO_TCP_INFO, ZERO): number}
        with pytest.raises(UnsupportedError, match="tcp_info"):
            _windows.tcp_info(server)
    winsock.answers = {(SIO_TCP_INFO, ONE): 10038}
    with pytest.raises(ConnectionClosedError):
        _windows.tcp_info(server)


def test_windows_peer_status(winsock, pair):
    """The state of the connection tells what of the peer is left."""
    server, _ = pair("tcp4")
    seen = {}
    for number, state in enumerate(WINDOWS_STATES):
        winsock.answers = {(SIO_TCP_INFO, ONE): windows_bytes(1, number)}
        seen[state] = _windows.peer_status(server)
    assert seen[TCPState.ESTABLISHED] is PeerStatus.OPEN
    assert seen[TCPState.CLOSE_WAIT] is PeerStatus.FIN_RECEIVED
    assert seen[TCPState.LAST_ACK] is PeerStatus.CLOSED
    winsock.answers = {(SIO_TCP_INFO, ONE): windows_bytes(1, 77)}
    assert _windows.peer_status(server) is PeerStatus.OPEN
    winsock.answers = {(SIO_TCP_INFO, ONE): 10054}
    assert _windows.peer_status(server) is PeerStatus.RESET


def test_windows_calls(winsock, recorded, pair):
    """Credentials are a pid; the queue is what waits; options have Windows' numbers."""
    unix = pair("unix")[0]
    winsock.answers = {
        (0x58000100, b""): struct.pack("<I", 4711),
        (0x4004667F, b""): struct.pack("<I", 12),
    }
    assert _windows.peer_credentials(unix) == PeerCredentials(4711, None, None, None)
    assert _windows.queues(unix) == Queues(12, None, None)
    winsock.answers = {(0x58000100, b""): 10045, (0x4004667F, b""): 10045}
    for call in (_windows.peer_credentials, _windows.queues):
        with pytest.raises(UnsupportedError):
            call(unix)
    sock = recorded({})
    _windows.set_dead_peer_timeout(sock, 8)
    assert [sock.answers[6, number] for number in (5, 3, 17, 16)] == [8, 4, 2, 2]
    _windows.set_dead_peer_timeout(sock, None)
    assert (sock.answers[6, 5], sock.answers[0xFFFF, 8]) == (0, 0)
    _windows.abort(sock)
    assert sock.answers[0xFFFF, 0x80] == struct.pack("=HH", 1, 0)


def test_setting_on_a_closed_windows_socket(pair):
    """Setting something on a closed socket says that it is closed."""
    server, _ = pair("tcp4")
    server.close()
    for call in (lambda sock: _windows.set_dead_peer_timeout(sock, 5), _windows.abort):
        with pytest.raises(ConnectionClosedError):
            call(server)


# -- A system that nobody knows ----------------------------------------------------------------


def test_fallback(pair):
    """Every operation of an unknown system is unsupported, by name; of a closed socket, closed."""
    server, _ = pair("tcp4")
    closed = server.dup()
    closed.close()
    for name in set(_fallback.__all__) - {"OPTIONS", "SYSTEM"}:
        arguments = {"set_congestion": ("cubic",), "set_dead_peer_timeout": (5,)}.get(name, ())
        with pytest.raises(UnsupportedError, match="congestion" if "cong" in name else name):
            getattr(_fallback, name)(server, *arguments)
        with pytest.raises(ConnectionClosedError):
            getattr(_fallback, name)(closed, *arguments)


def test_options_of_this_system():
    """``Options`` carries this system's table."""
    assert Options._table is _linux.OPTIONS
    assert Options._system == "Linux"
