"""Linux' small calls over every kind of connection, and each of them on a closed socket."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys

import pytest
from servers import wait_for

from flask_rawsocket import sockinfo
from flask_rawsocket.errors import ConnectionBrokenError, ConnectionClosedError, UnsupportedError
from flask_rawsocket.sockinfo import (
    BBRInfo,
    DCTCPInfo,
    Options,
    Queues,
    VegasInfo,
    congestion,
    congestion_info,
    cookie,
    original_destination,
    queues,
    save_syn,
    saved_syn,
    set_congestion,
    tcp_info,
)
from flask_rawsocket.sockinfo._congestion import decode_congestion
from flask_rawsocket.sockinfo._errno import fail

TCP = ["tcp4", "tcp6", "mapped"]
GETTERS = {
    "tcp_info": sockinfo.tcp_info,
    "congestion": congestion,
    "set_congestion": lambda sock: set_congestion(sock, "reno"),
    "congestion_info": congestion_info,
    "peer_credentials": sockinfo.peer_credentials,
    "tls_info": sockinfo.tls_info,
    "queues": queues,
    "cookie": cookie,
    "original_destination": original_destination,
    "save_syn": save_syn,
    "saved_syn": saved_syn,
    "peer_status": sockinfo.peer_status,
    "abort": sockinfo.abort,
    "set_dead_peer_timeout": lambda sock: sockinfo.set_dead_peer_timeout(sock, 5),
    "option": lambda sock: Options(lambda question: question(sock)).nodelay,
    "set option": lambda sock: setattr(Options(lambda question: question(sock)), "nodelay", True),
}
TCP_ONLY = [
    *("tcp_info", "congestion", "set_congestion", "congestion_info", "save_syn"),
    *("original_destination", "saved_syn", "option"),
]


@pytest.mark.parametrize("kind", ["tcp4", "tcp6", "unix"])
@pytest.mark.parametrize("name", GETTERS)
def test_closed(pair, kind, name):
    """After close every call says so, never EBADF and never something about the family."""
    server, _ = pair(kind)
    server.close()
    with pytest.raises(ConnectionClosedError):
        GETTERS[name](server)


@pytest.mark.parametrize("name", TCP_ONLY)
def test_unix_has_no_tcp(pair, name):
    """On a UNIX socket what belongs to TCP is unsupported."""
    server, _ = pair("unix")
    with pytest.raises(UnsupportedError):
        GETTERS[name](server)


@pytest.mark.parametrize(
    "name", ["tcp_info", "congestion", "congestion_info", "save_syn", "saved_syn"]
)
def test_what_unix_has_not_names_the_family(pair, name):
    """The error says of which kind the socket is; the system's own text is its cause."""
    server, _ = pair("unix")
    with pytest.raises(UnsupportedError, match="on an AF_UNIX socket") as caught:
        GETTERS[name](server)
    assert caught.value.__cause__.errno == errno.EOPNOTSUPP


def test_an_old_kernel_is_not_a_wrong_family(recorded):
    """Of a TCP socket the error tells what the system said."""
    refused = OSError(errno.ENOPROTOOPT, "Protocol not available")
    with pytest.raises(UnsupportedError, match="this socket: Protocol not available"):
        sockinfo.tcp_info(recorded({(6, 11): refused}))


@pytest.mark.parametrize("kind", TCP)
def test_every_tcp_family(pair, kind):
    """IPv4, IPv6 and v4-mapped connections answer alike."""
    server, _ = pair(kind)
    assert tcp_info(server).state == "ESTABLISHED"
    assert congestion(server)
    assert queues(server) == Queues(0, 0, 0)
    assert cookie(server) > 0
    assert saved_syn(server) is None


def test_tls_connections_answer_too(tls):
    """An ``SSLSocket`` is asked like any socket."""
    with tls() as (server, _):
        assert tcp_info(server).state == "ESTABLISHED"
        assert cookie(server) > 0
        wait_for(lambda: queues(server).send == 0)  # its session tickets were acknowledged


def test_a_detached_descriptor_lives_on(pair):
    """After the descriptor was handed over, the new socket answers and the old one is closed."""
    server, _ = pair("tcp4")
    number = cookie(server)
    with socket.socket(fileno=server.detach()) as owner:
        assert cookie(owner) == number
        assert tcp_info(owner).state == "ESTABLISHED"
        with pytest.raises(ConnectionClosedError):
            tcp_info(server)


def test_cookies_name_the_socket(pair):
    """A duplicate has the same cookie, the other end another; a UNIX socket has one as well."""
    server, client = pair("tcp4")
    with server.dup() as twin:
        assert cookie(twin) == cookie(server) != cookie(client)
    assert cookie(pair("unix")[0]) > 0


def test_queues_of_unix(pair):
    """Of a UNIX socket only the receive queue is known in bytes."""
    server, client = pair("unix")
    client.sendall(b"x" * 2000)
    assert queues(server) == Queues(2000, None, None)
    assert queues(client) == Queues(0, None, None)


def test_queues_of_a_listener(pair):
    """A listening socket has no such queues."""
    with pytest.raises(UnsupportedError, match="queues"):
        queues(pair.listener("tcp4"))


def test_all_bytes_are_accounted_for(pair):
    """What the peer acknowledged and what is in the send queue is what was written."""
    server, client = pair("tcp4")
    server.settimeout(0)
    written = 0
    try:
        while True:
            written += server.send(b"x" * 65536)
    except BlockingIOError:
        pass
    for _ in range(50):
        before, ours, after = tcp_info(server), queues(server), tcp_info(server)
        if before.bytes_acked == after.bytes_acked:
            break
    assert before.bytes_acked + ours.send == written
    # None is in flight where the peer's window has closed on what it has acknowledged.
    assert 0 < ours.unsent <= ours.send
    assert queues(client).receive > 0


def test_syn_and_fin_are_counted(pair):
    """A FIN of ours counts as a byte; a SYN counts on the end that opened the connection."""
    server, client = pair("tcp4")
    assert (tcp_info(server).bytes_acked, tcp_info(client).bytes_acked) == (0, 1)
    server.sendall(b"12345")
    wait_for(lambda: tcp_info(server).bytes_acked == 5)
    server.shutdown(socket.SHUT_WR)
    wait_for(lambda: tcp_info(server).bytes_acked == 6)
    assert tcp_info(client).bytes_received == 6


def test_after_a_reset_the_queues_tell_what_was_lost(pair):
    """What was thrown away is still counted, though nothing of it can be sent any more."""
    server, client = pair("tcp4")
    server.settimeout(0)
    with pytest.raises(BlockingIOError):
        while True:
            server.send(b"x" * 65536)
    sockinfo.abort(client)
    client.close()
    wait_for(lambda: tcp_info(server).state == "CLOSE")
    found = queues(server)
    assert found.send >= found.unsent == tcp_info(server).notsent_bytes > 0


def test_tcp_info_after_a_reset(pair):
    """A connection that was reset still answers, in state CLOSE."""
    server, client = pair("tcp4")
    sockinfo.abort(client)
    client.close()
    wait_for(lambda: tcp_info(server).state == "CLOSE")


def test_no_round_trip_before_the_first(pair):
    """A socket that has measured no round trip has none, instead of one in no time."""
    info = tcp_info(pair.listener("tcp4"))
    assert (info.rtt, info.rcv_rtt) == (None, None)
    assert "rtt" not in repr(info)
    server, _ = pair("tcp4")
    assert tcp_info(server).rtt > 0


def test_set_congestion(pair):
    """An available algorithm is set, and tells nothing of itself if it is Reno."""
    server, _ = pair("tcp4")
    set_congestion(server, "reno")
    assert congestion(server) == "reno"
    assert congestion_info(server) is None


@pytest.mark.parametrize("name", ["no-such", "", "a" * 50])
def test_no_such_congestion(pair, name):
    """An unknown algorithm is unsupported, by name."""
    server, _ = pair("tcp4")
    before = congestion(server)
    with pytest.raises(UnsupportedError, match=f"congestion '{name}': this kernel has no such"):
        set_congestion(server, name)
    assert congestion(server) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a privilege up")
def test_set_congestion_without_privilege(pair):
    """An algorithm that is not allowed to all is a PermissionError."""
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control") as file:
        available = set(file.read().split())
    with open("/proc/sys/net/ipv4/tcp_allowed_congestion_control") as file:
        forbidden = available - set(file.read().split())
    if not forbidden:
        pytest.skip("every available algorithm is allowed to all")
    server, _ = pair("tcp4")
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match="congestion"):
            set_congestion(server, forbidden.pop())
    finally:
        os.seteuid(0)


BBR = struct.pack("=5I", 5, 1, 1500, 739, 512)
VEGAS = struct.pack("=4I", 1, 3, 2000, 0x7FFFFFFF)
DCTCP = struct.pack("=2H3I", 1, 0, 1024, 10, 20)


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("bbr", BBR, BBRInfo(2**32 + 5, 0.0015, 739 / 256, 2.0)),
        ("bbr3", BBR + bytes(40), BBRInfo(2**32 + 5, 0.0015, 739 / 256, 2.0)),
        ("bbr", struct.pack("=5I", 0, 0, 2**32 - 1, 0, 0), BBRInfo(0, None, 0.0, 0.0)),
        ("bbr", BBR[:-1], None),
        ("vegas", VEGAS, VegasInfo(enabled=True, rttcnt=3, rtt=0.002, minrtt=None)),
        ("yeah", struct.pack("=4I", 0, 0, 5, 4), VegasInfo(False, 0, 5e-06, 4e-06)),  # noqa: FBT003
        (
            "nv",
            struct.pack("=4I", 1, 0, 0x7FFFFFFF, 0xFFFFFFFF),
            VegasInfo(enabled=True, rttcnt=0, rtt=None, minrtt=None),
        ),
        (
            "illinois",
            struct.pack("=4I", 1, 0, 0, 0x7FFFFFFF),
            VegasInfo(enabled=True, rttcnt=0, rtt=None, minrtt=None),
        ),
        ("vegas", b"", None),
        ("dctcp", DCTCP, DCTCPInfo(enabled=True, ce_state=0, alpha=1024, ab_ecn=10, ab_tot=20)),
        (
            "dctcp-reno",
            bytes(16),
            DCTCPInfo(enabled=False, ce_state=0, alpha=0, ab_ecn=0, ab_tot=0),
        ),
        ("dctcp", b"", None),
        ("cubic", b"", None),
        ("unheard-of", VEGAS, None),
    ],
)
def test_congestion_answers(name, raw, expected):
    """The decoder goes by the name, since two answers have the same length."""
    assert decode_congestion(name, raw) == expected


def test_congestion_info_of_an_old_kernel(recorded):
    """A kernel without TCP_CC_INFO is unsupported, not None."""
    answers = {(6, 13): b"bbr\0\0\0", (6, 26): OSError(errno.ENOPROTOOPT, "no")}
    with pytest.raises(UnsupportedError, match="congestion_info"):
        congestion_info(recorded(answers))


@pytest.mark.parametrize(("kind", "version"), [("tcp4", 4), ("tcp6", 6), ("mapped", 4)])
def test_saved_syn(pair, kind, version):
    """The SYN is there once, with the IP header that the client sent."""
    server, client = pair(kind, save_syn)
    syn = saved_syn(server)
    assert syn[0] >> 4 == version
    header = 20 if version == 4 else 40
    source, destination = struct.unpack_from("!HH", syn, header)
    assert source == client.getsockname()[1]
    assert destination == server.getsockname()[1]
    assert saved_syn(server) is None


@pytest.mark.parametrize("kind", TCP)
def test_no_original_destination(pair, kind):
    """Without connection tracking there is none to tell, and the error says so."""
    server, _ = pair(kind)
    try:
        host, port = original_destination(server)
    except UnsupportedError as exc:
        assert "original_destination" in str(exc)  # noqa: PT017 - either answer is right
    else:
        assert (host, port) == (server.getsockname()[0].removeprefix("::ffff:"), port)


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOENT, "netfilter tracks no such connection"),
        (errno.ENOPROTOOPT, "connection tracking is not loaded"),
        (errno.EINVAL, "not supported on this socket"),
    ],
)
def test_why_there_is_no_original_destination(recorded, number, why):
    """The error says what is missing, instead of "No such file or directory"."""
    sock = recorded({(0, 80): OSError(number, os.strerror(number))})
    with pytest.raises(UnsupportedError, match=why):
        original_destination(sock)


def test_original_destination_is_decoded(recorded):
    """IPv4, IPv6 and v4-mapped sockets ask at the right level and read the right address."""
    four = struct.pack("!2xH4s8x", 443, socket.inet_aton("192.0.2.7"))
    six = struct.pack("!2xH4x16s4x", 443, socket.inet_pton(socket.AF_INET6, "2001:db8::7"))
    answers = {(0, 80): four, (41, 80): six}
    assert original_destination(recorded(answers)) == ("192.0.2.7", 443)
    plain = recorded(answers, socket.AF_INET6, ("fe80::1%lo", 1, 0, 0))
    assert original_destination(plain) == ("2001:db8::7", 443)
    mapped = recorded(answers, socket.AF_INET6, ("::ffff:192.0.2.1", 1, 0, 0))
    assert original_destination(mapped) == ("192.0.2.7", 443)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EBADF, ConnectionClosedError),
        (errno.ENOTSOCK, ConnectionClosedError),
        (errno.ENOTCONN, ConnectionBrokenError),
        (errno.ECONNRESET, ConnectionBrokenError),
        (errno.ETIMEDOUT, ConnectionBrokenError),
        (errno.EOPNOTSUPP, UnsupportedError),
        (errno.ENOSYS, UnsupportedError),
        (errno.EACCES, PermissionError),
        (errno.EINVAL, OSError),
    ],
)
def test_errno(number, error):
    """Each errno becomes an error by whose fault it is, and keeps its cause."""
    cause = OSError(number, os.strerror(number))
    with pytest.raises(error) as caught:
        fail(cause, "the operation")
    if error is OSError:
        assert caught.value is cause
    else:
        assert caught.value.__cause__ is cause
        assert "the operation" in str(caught.value)


def test_errno_without_a_text():
    """An error that the system gave no text is told by its own."""
    with pytest.raises(ConnectionBrokenError, match="operation: "):
        fail(ConnectionResetError(errno.ECONNRESET, None), "operation")


@pytest.mark.parametrize(
    ("platform", "module"),
    [
        ("darwin", "darwin"),
        ("win32", "windows"),
        ("freebsd14", "bsd"),
        ("netbsd10", "bsd"),
        ("openbsd7", "bsd"),
        ("sunos5", "fallback"),
    ],
)
def test_each_system_takes_its_file(platform, module):
    """``sockinfo`` asks once which system it is, and imports that system's file."""
    code = f"""if True:
        import ctypes, dataclasses, ipaddress, platform, select, socket, ssl, sys, weakref
        import fcntl, flask, importlib.util, signal, termios, werkzeug.serving
        sys.platform = {platform!r}
        from flask_rawsocket import sockinfo
        print(sockinfo._system.__name__.rpartition(".")[2])
    """
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == module + "\n", done.stderr
