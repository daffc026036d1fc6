"""``Options``: each attribute is the kernel's own option, typed, read and written through."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import ClassVar

import pytest
from servers import wait_for

from flask_rawsocket.errors import ConnectionClosedError, UnsupportedError
from flask_rawsocket.sockinfo import (
    Options,
    PeerStatus,
    peer_status,
    set_dead_peer_timeout,
    tcp_info,
)
from flask_rawsocket.sockinfo._options import OptionSet
from flask_rawsocket.sockinfo._place import Place
from flask_rawsocket.sockinfo._systems import linux_dead_peer as _linux_dead_peer
from flask_rawsocket.sockinfo._systems.linux import OPTIONS
from flask_rawsocket.sockinfo._systems.linux_numbers import NUMBERS

NAMES = [
    "nodelay",
    "cork",
    "quickack",
    "keepalive",
    "keepalive_idle",
    "keepalive_interval",
    "keepalive_count",
    "user_timeout",
    "notsent_lowat",
    "pacing_rate",
    "priority",
    "mark",
    "send_buffer",
    "receive_buffer",
    "incoming_cpu",
]
ROUND_TRIPS = [
    ("nodelay", True),
    ("cork", True),
    ("quickack", False),
    ("keepalive", True),
    ("keepalive_idle", 30.0),
    ("keepalive_interval", 5.0),
    ("keepalive_count", 4),
    ("user_timeout", 1.5),
    ("user_timeout", None),
    ("notsent_lowat", 16384),
    ("notsent_lowat", None),
    ("pacing_rate", 1_000_000),
    ("pacing_rate", 2**33),
    ("pacing_rate", None),
    ("priority", 4),
]


@pytest.fixture
def options(pair):
    """The options of a live TCP connection, and its socket."""
    server, _ = pair("tcp4")
    return Options(lambda question: question(server)), server


def test_linux_has_them_all():
    """The table of Linux has the attributes of the contract, and no other."""
    assert list(OPTIONS) == NAMES


@pytest.mark.parametrize(("name", "value"), ROUND_TRIPS)
def test_round_trip(options, name, value):
    """What is set is what is read, with the same type."""
    ours, _ = options
    setattr(ours, name, value)
    assert getattr(ours, name) == value
    assert type(getattr(ours, name)) is type(value)


@pytest.mark.parametrize("kind", ["tcp4", "tcp6", "mapped"])
@pytest.mark.parametrize("name", NAMES)
def test_reads_on_every_family(pair, kind, name):
    """Every option of a TCP connection can be read, unprivileged, over IPv4 and IPv6."""
    server, _ = pair(kind)
    getattr(Options(lambda question: question(server)), name)


def test_the_kernel_agrees(options):
    """The values lie where the C constants say."""
    ours, sock = options
    ours.nodelay, ours.user_timeout, ours.pacing_rate = True, 2.0001, 12345
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2001
    assert sock.getsockopt(socket.SOL_SOCKET, NUMBERS["SO_MAX_PACING_RATE"]) == 12345
    assert tcp_info(sock).max_pacing_rate == 12345
    ours.nodelay = False
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0


def test_buffers_are_doubled_by_the_kernel(options):
    """The documented trap: Linux says the doubled number."""
    ours, _ = options
    ours.send_buffer, ours.receive_buffer = 20_000, 30_000
    assert (ours.send_buffer, ours.receive_buffer) == (40_000, 60_000)


@pytest.mark.skipif(os.geteuid() != 0, reason="SO_MARK needs CAP_NET_ADMIN")
def test_mark(options):
    """A mark of 32 bits is set and read unsigned."""
    ours, _ = options
    ours.mark = 0xFFFF0001
    assert ours.mark == 0xFFFF0001


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a privilege up")
def test_a_missing_privilege_names_the_option(options):
    """Without CAP_NET_ADMIN setting a mark is a PermissionError that names it."""
    ours, _ = options
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match="mark"):
            ours.mark = 5
        with pytest.raises(PermissionError, match="priority"):
            ours.priority = 7
    finally:
        os.seteuid(0)


def test_incoming_cpu_is_a_cpu(options):
    """The CPU is a number of this machine."""
    ours, _ = options
    assert ours.incoming_cpu in range(os.cpu_count())
    ours.incoming_cpu = 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_timeout", 0),
        ("user_timeout", -1.0),
        ("user_timeout", float("nan")),
        ("user_timeout", 2**31),
        ("pacing_rate", -5),
        ("pacing_rate", 2**64),
        ("priority", 2**31),
        ("send_buffer", -1),
        ("keepalive_idle", 0),
        ("keepalive_idle", 32768),
        ("keepalive_interval", 32767.5),
        ("keepalive_count", 0),
        ("keepalive_count", 128),
    ],
)
def test_a_number_that_does_not_fit(options, name, value):
    """A value that the kernel would refuse or misread is a ValueError, and nothing is set."""
    ours, _ = options
    before = getattr(ours, name)
    with pytest.raises(ValueError, match=rf"options\.{name}: .* not"):
        setattr(ours, name, value)
    assert getattr(ours, name) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("keepalive_idle", 32767.0), ("keepalive_interval", 32767.0), ("keepalive_count", 127)],
)
def test_the_largest_that_fits(options, name, value):
    """The bounds are the kernel's own: it takes the last number before them."""
    ours, _ = options
    setattr(ours, name, value)
    assert getattr(ours, name) == value


NEVER_NONE = [name for name, place in OPTIONS.items() if place.none is None]


def test_some_options_can_be_unset():
    """The others go back to "not set" by None."""
    assert set(OPTIONS) - set(NEVER_NONE) == {
        *("user_timeout", "notsent_lowat", "pacing_rate", "incoming_cpu"),
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, None) for name in NEVER_NONE),
        *((name, "3") for name in NAMES),
        ("pacing_rate", 1e6),
        ("notsent_lowat", 16384.0),
        ("priority", 3.0),
        ("nodelay", 1.0),
    ],
)
def test_no_number(options, name, value):
    """A value that is not a whole number is a TypeError that names the option."""
    ours, _ = options
    before = getattr(ours, name)
    with pytest.raises(TypeError, match=rf"options\.{name}"):
        setattr(ours, name, value)
    assert getattr(ours, name) == before


def test_none_where_a_type_admits_it_and_the_system_does_not(pair):
    """An option that can be unset here, and not on some other system, says so there."""
    server, _ = pair("tcp4")

    class Elsewhere(OptionSet):
        _table: ClassVar = {"pacing_rate": Place(0, 0)}

    with pytest.raises(TypeError, match=r"options\.pacing_rate cannot be None"):
        Elsewhere(lambda question: question(server)).pacing_rate = None


def test_whatever_counts_as_a_whole_number(options):
    """Not only ``int``: what Python itself takes as an index."""

    class Five:
        def __index__(self):
            return 5

    ours, _ = options
    ours.priority, ours.nodelay = Five(), Five()
    assert (ours.priority, ours.nodelay) == (5, True)


def test_a_bad_value_of_a_known_option(pair):
    """What a kernel refuses for reasons that are not known here stays the OSError that it was."""
    server, _ = pair("tcp4")

    class Strange(OptionSet):
        _table: ClassVar = {"keepalive_count": OPTIONS["keepalive_count"]._replace(largest=None)}

    with pytest.raises(OSError, match="Invalid argument"):
        Strange(lambda question: question(server)).keepalive_count = 1000


def test_a_tiny_timeout_is_not_none(options):
    """Times are rounded up: half a millisecond does not become "no timeout"."""
    ours, _ = options
    for tiny in (0.0001, 1e-12):
        ours.user_timeout = tiny
        assert ours.user_timeout == 0.001


def test_unix(pair):
    """On a UNIX socket the TCP options are unsupported, and the socket's own work."""
    server, _ = pair("unix")
    ours = Options(lambda question: question(server))
    with pytest.raises(UnsupportedError, match=r"options\.nodelay"):
        ours.nodelay  # noqa: B018 - reading it is the test
    with pytest.raises(UnsupportedError, match=r"options\.cork"):
        ours.cork = True
    assert ours.priority == 0
    assert ours.send_buffer > 0


def test_the_live_socket_is_asked_for_each_time(pair):
    """The callable decides at every access which socket it is, and whether there is one."""
    first, second = pair("tcp4")[0], pair("tcp4")[0]
    current = [first]
    ours = Options(lambda question: question(current[0]))
    ours.nodelay = True
    current[0] = second
    assert ours.nodelay is False

    def gone(question):
        raise ConnectionClosedError("gone")

    with pytest.raises(ConnectionClosedError, match="gone"):
        Options(gone).nodelay  # noqa: B018


def test_unknown_attribute(options):
    """A misspelt option is an AttributeError, not a silent attribute."""
    ours, _ = options
    with pytest.raises(AttributeError):
        ours.no_delay = True


def test_repr_and_docs(options):
    """The repr shows the socket; every option has a docstring."""
    ours, _ = options
    assert repr(ours).startswith("<Options of <socket.socket")
    for name in NAMES:
        assert getattr(Options, name).__doc__


def test_the_docs_tell_every_error():
    """The class that the documentation shows lists what its attributes raise."""
    errors = ("Unsupported", "Permission", "ConnectionClosed", "ConnectionBroken", "Type", "Value")
    for error in errors:
        assert f"    {error}Error: " in Options.__doc__


@pytest.mark.parametrize(
    ("name", "limit"), [("send_buffer", "wmem_max"), ("receive_buffer", "rmem_max")]
)
def test_buffers_are_capped_by_the_kernel(options, name, limit):
    """The other documented trap: what is above the system's limit is cut down, without an error."""
    ours, _ = options
    try:
        largest = int(Path("/proc/sys/net/core", limit).read_text())
    except FileNotFoundError:  # older kernels show it in the first network namespace only
        pytest.skip("this network namespace does not tell its limit")
    setattr(ours, name, 2**31 - 1)
    assert getattr(ours, name) == 2 * min(largest, 2**30 - 1)


def test_a_system_without_the_option(pair):
    """An option that the system's table lacks is unsupported, by name and system."""
    server, _ = pair("tcp4")
    with pytest.raises(UnsupportedError, match=r"options\.mark is not supported on this system"):
        OptionSet(lambda question: question(server)).mark  # noqa: B018


def test_answers_of_other_widths():
    """A rate of 4 bytes and a boolean of 1 byte are read by their own length."""
    rate = Place(0, 0, code="L", none=-1)
    assert rate.unpack(b"\xff" * 4) is None
    assert rate.unpack(b"\xff" * 8) is None
    assert rate.unpack(struct.pack("=I", 7)) == 7
    assert Place(0, 0).unpack(b"\x01") == 1
    assert Place(0, 0, none=-1).unpack(struct.pack("=i", -1)) is None


@pytest.mark.parametrize(
    ("seconds", "idle", "interval"), [(0.5, 1, 1), (3, 1, 1), (60, 30, 15), (1e6, 32767, 32767)]
)
def test_dead_peer_timeout(options, seconds, idle, interval):
    """Keepalive and user timeout are set together, within the kernel's bounds."""
    ours, sock = options
    set_dead_peer_timeout(sock, seconds)
    assert ours.keepalive is True
    assert ours.user_timeout == seconds
    assert (ours.keepalive_idle, ours.keepalive_interval) == (idle, interval)
    assert 1 <= ours.keepalive_count <= 127


DEAD_PEER = ["user_timeout", "keepalive", "keepalive_idle", "keepalive_interval", "keepalive_count"]


def all_of(sock):
    """Give everything that ``set_dead_peer_timeout`` sets."""
    ours = Options(lambda question: question(sock))
    return [getattr(ours, name) for name in DEAD_PEER]


def test_none_makes_it_like_new(pair):
    """None leaves nothing behind: all five options are those of a socket that was never touched."""
    touched, new = pair("tcp4")[0], pair("tcp4")[0]
    set_dead_peer_timeout(touched, 30)
    assert all_of(touched) != all_of(new)
    set_dead_peer_timeout(touched, None)
    assert all_of(touched) == all_of(new)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, [7200.0, 75.0, 9]),
        ({"time": "600\n", "intvl": "10\n", "probes": "3\n"}, [600.0, 10.0, 3]),
        ({"time": "40000\n", "intvl": "0\n", "probes": "255\n"}, [32767.0, 1.0, 127]),
        ({"time": "", "intvl": "75 75\n"}, [7200.0, 75.0, 9]),
    ],
    ids=["no /proc", "the system's", "beyond a socket's bounds", "no numbers"],
)
def test_the_defaults_are_the_systems(pair, tmp_path, monkeypatch, files, expected):
    """They are read from the system; where it does not tell they are the kernel's own."""
    monkeypatch.setattr(_linux_dead_peer, "_SYSCTL", tmp_path)
    for name, text in files.items():
        (tmp_path / f"tcp_keepalive_{name}").write_text(text)
    server, _ = pair("tcp4")
    set_dead_peer_timeout(server, None)
    assert all_of(server) == [None, False, *expected]


@pytest.mark.slow
def test_a_reader_that_pauses_is_given_up_too(pair):
    """The documented trap: the client's kernel answers the probes, and is reset all the same."""
    server, client = pair("tcp4")
    set_dead_peer_timeout(server, 0.5)
    server.settimeout(0)
    with pytest.raises(BlockingIOError):
        while True:
            server.send(b"x" * 65536)
    wait_for(lambda: peer_status(server) is PeerStatus.RESET, "the reset")
    with pytest.raises(TimeoutError):
        server.recv(1)
    client.settimeout(10)
    with pytest.raises(ConnectionResetError):
        while client.recv(65536):
            pass


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 2**31, 2147483.6475])
def test_dead_peer_timeout_refuses_a_time(pair, seconds):
    """A time that makes no sense, or is too long once it is rounded up, is a ValueError."""
    server, _ = pair("tcp4")
    before = all_of(server)
    with pytest.raises(ValueError, match="set_dead_peer_timeout"):
        set_dead_peer_timeout(server, seconds)
    assert all_of(server) == before


def test_the_longest_dead_peer_timeout(pair):
    """As long as a C ``int`` counts milliseconds."""
    server, _ = pair("tcp4")
    set_dead_peer_timeout(server, 2147483.647)
    assert Options(lambda question: question(server)).user_timeout == 2147483.647


def test_dead_peer_timeout_refuses(pair):
    """What is not a number, a UNIX socket and a closed socket are refused."""
    server, _ = pair("tcp4")
    with pytest.raises(TypeError, match="set_dead_peer_timeout"):
        set_dead_peer_timeout(server, "3")
    unix, _ = pair("unix")
    with pytest.raises(UnsupportedError, match=r"set_dead_peer_timeout .* AF_UNIX"):
        set_dead_peer_timeout(unix, 5)
    assert Options(lambda question: question(unix)).keepalive is False
    server.close()
    with pytest.raises(ConnectionClosedError):
        set_dead_peer_timeout(server, 5)
