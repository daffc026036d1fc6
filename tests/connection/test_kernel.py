"""What a Connection can ask the kernel: each question on each family, in each state of its life."""

from __future__ import annotations

import contextlib
import grp
import ipaddress
import itertools
import json
import os
import queue
import re
import socket
import struct
import sys
import textwrap
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flask import Flask
from servers import PATIENCE, Client, client_context, wait_for

from flask_rawsocket import ConnectionClosedError, ConnState, RawSocket, UnsupportedError
from flask_rawsocket._connection.connection import life_of
from flask_rawsocket._sockets.plain import TrackedSocket
from flask_rawsocket._tracking.tracker import process_tracker
from flask_rawsocket.serving._server import make_server
from flask_rawsocket.sockinfo import BBRInfo, PeerCredentials, PeerStatus, Queues, TCPInfo, TCPState

PLACES = ["unix", "tcp4", "tcp6", "mapped", "tls"]
HOSTS = {"tcp4": "127.0.0.1", "tcp6": "::1", "mapped": "::ffff:127.0.0.1", "tls": "127.0.0.1"}
ALGORITHMS = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
SO_COOKIE = 57


def pidfd(conn):
    """Give the process that the peer's pidfd is of."""
    with conn.peer_pidfd() as fd:
        facts = Path(f"/proc/self/fdinfo/{fd}").read_text()
    return int(re.search(r"^Pid:\s*(\d+)", facts, re.MULTILINE)[1])


QUESTIONS = {
    "tcp_info": lambda conn: conn.tcp_info(),
    "congestion": lambda conn: conn.congestion,
    "congestion_info": lambda conn: conn.congestion_info(),
    "peer_credentials": lambda conn: conn.peer_credentials(),
    "peer_pidfd": pidfd,
    "peer_security_label": lambda conn: conn.peer_security_label(),
    "tls": lambda conn: conn.tls,
    "queues": lambda conn: conn.queues(),
    "options.nodelay": lambda conn: conn.options.nodelay,
    "options.send_buffer": lambda conn: conn.options.send_buffer,
    "cookie": lambda conn: conn.cookie,
    "original_destination": lambda conn: conn.original_destination(),
    "saved_syn": lambda conn: conn.saved_syn(),
    "peer_status": lambda conn: conn.peer_status(),
    "is_disconnected": lambda conn: conn.is_disconnected(),
}

ORDERS = {
    "congestion": lambda conn: setattr(conn, "congestion", "reno"),
    "set_dead_peer_timeout": lambda conn: conn.set_dead_peer_timeout(10),
    "options.nodelay": lambda conn: setattr(conn.options, "nodelay", True),
    "options.send_buffer": lambda conn: setattr(conn.options, "send_buffer", 65536),
}

TCP_ONLY = {
    "tcp_info",
    "congestion",
    "congestion_info",
    "options.nodelay",
    "original_destination",
    "saved_syn",
    "set_dead_peer_timeout",
}
UNIX_ONLY = {"peer_credentials", "peer_pidfd"}


def answers(name, place):
    """Tell whether the kernel has an answer to `name` on a connection of that kind."""
    return name not in (TCP_ONLY if place == "unix" else UNIX_ONLY)


def named(name):
    """Give the pattern of the operation in an error's text."""
    return rf"^{re.escape(name)}\b"


def ask(name, conn):
    """Give what `conn` answers; for the question that hangs on netfilter, also its refusal."""
    try:
        return QUESTIONS[name](conn)
    except UnsupportedError as exc:
        if name == "original_destination" and not conn.is_unix:
            return exc
        raise


@dataclass
class Place:
    """A server of ours in this process, whose connections the test gets hold of."""

    name: str
    address: object
    arrived: queue.Queue = field(default_factory=queue.Queue)
    last_info: dict = field(default_factory=dict)

    def client(self, server_hostname="localhost"):
        if self.name == "unix":
            sock = socket.socket(socket.AF_UNIX)
        else:
            sock = socket.socket(socket.AF_INET6 if self.name == "tcp6" else socket.AF_INET)
        sock.settimeout(PATIENCE)
        with contextlib.ExitStack() as undo:
            undo.callback(sock.close)
            sock.connect(self.address)
            if self.name == "tls":
                sock = client_context().wrap_socket(sock, server_hostname=server_hostname)
            undo.pop_all()
        return Client(sock)

    @contextlib.contextmanager
    def active(self, **kwargs):
        """A client, and its connection in the midst of a request."""
        with self.client(**kwargs) as client:
            client.get("/hold")
            conn, release = self.arrived.get(timeout=PATIENCE)
            try:
                yield client, conn
            finally:
                release.set()

    @contextlib.contextmanager
    def hijacked(self):
        """A client, its connection, and the stream of the connection that was taken over."""
        with self.client() as client:
            client.get("/take")
            conn, stream = self.arrived.get(timeout=PATIENCE)
            with stream:
                yield client, conn, stream

    def closed(self):
        """Give a connection after its end."""
        with self.active() as (client, conn):
            pass
        client.close()
        wait_for(lambda: life_of(conn).sock is None, "the descriptor to be closed")
        return conn


def application(place):
    """Make the application of a place: one view waits for the test, one gives it the connection."""
    app = Flask(__name__)
    rawsocket = RawSocket(app)

    @rawsocket.on_state_change(ConnState.CLOSED)
    def note(conn, _old, _new):
        with contextlib.suppress(UnsupportedError):
            place.last_info[conn.id] = conn.tcp_info()

    @app.get("/hold")
    def hold():
        release = threading.Event()
        place.arrived.put((rawsocket.current_conn, release))
        release.wait(PATIENCE)
        return "held"

    @app.get("/take")
    def take():
        conn = rawsocket.current_conn
        place.arrived.put((conn, conn.hijack()))
        return ""

    return app


@contextlib.contextmanager
def serving(name, folder, certificate):
    place = Place(name, None)
    host = f"unix://{folder}/s" if name == "unix" else HOSTS[name]
    tls = certificate if name == "tls" else None
    server = make_server(host, 0, application(place), threaded=True, ssl_context=tls)
    address = server.server_address
    place.address = address if name == "unix" else (HOSTS[name].removeprefix("::ffff:"), address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield place
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def get_place(tmp_path_factory, certificate):
    with contextlib.ExitStack() as stack:
        made = {}

        def get(name):
            if name not in made:
                folder = tmp_path_factory.mktemp(name)
                made[name] = stack.enter_context(serving(name, folder, certificate))
            return made[name]

        yield get


@pytest.fixture(params=PLACES)
def place(request, get_place):
    """A server on each kind of socket."""
    return get_place(request.param)


@pytest.fixture(params=PLACES[1:])
def tcp(request, get_place):
    """A server on each kind of TCP socket."""
    return get_place(request.param)


@pytest.fixture
def unix(get_place):
    return get_place("unix")


# Every question, on every family, in every state


@pytest.mark.parametrize("name", QUESTIONS)
def test_in_a_request(place, name):
    """In a request a question has an answer, or the kind of socket does not have the operation."""
    with place.active() as (_client, conn):
        assert conn.state is ConnState.ACTIVE
        if answers(name, place.name):
            answer = ask(name, conn)
            # Some algorithms tell nothing, and the system chooses which one it is; so with labels.
            if name not in {"congestion_info", "saved_syn", "peer_security_label"}:
                assert (answer is None) is (name == "tls" and not conn.is_tls)
        else:
            with pytest.raises(UnsupportedError, match=named(name)):
                QUESTIONS[name](conn)


@pytest.mark.parametrize("name", QUESTIONS)
def test_taken_over(place, name):
    """A connection that was taken over answers as before, until its owner closes it."""
    with place.hijacked() as (_client, conn, stream):
        assert conn.state is ConnState.HIJACKED
        if answers(name, place.name):
            ask(name, conn)
        else:
            with pytest.raises(UnsupportedError):
                QUESTIONS[name](conn)
        stream.close()
        with pytest.raises(ConnectionClosedError):
            QUESTIONS[name](conn)


@pytest.mark.parametrize("name", QUESTIONS)
def test_after_the_close(place, name):
    """After its end a connection answers no question, and says that it has been closed."""
    conn = place.closed()
    with pytest.raises(ConnectionClosedError, match="closed"):
        QUESTIONS[name](conn)


@pytest.mark.parametrize("name", ORDERS)
def test_orders(place, name):
    """An option can be set in a request, where the kind of socket has it."""
    with place.active() as (_client, conn):
        if answers(name, place.name):
            ORDERS[name](conn)
        else:
            with pytest.raises(UnsupportedError, match=named(name)):
                ORDERS[name](conn)


@pytest.mark.parametrize("name", ORDERS)
def test_orders_after_the_close(place, name):
    """After its end a connection takes no option."""
    conn = place.closed()
    with pytest.raises(ConnectionClosedError):
        ORDERS[name](conn)


def take_at(conn, number):
    """Have `conn` taken over before the call `number` of its socket; give where the stream goes."""
    streams, calls = [], itertools.count()

    def counted(method):
        def call(sock, *args):
            if next(calls) == number:
                streams.append(conn.hijack())
            return method(sock, *args)

        return call

    names = ("fileno", "getsockopt", "setsockopt", "getsockname")
    methods = {name: counted(getattr(TrackedSocket, name)) for name in names}
    life_of(conn).sock.__class__ = type("Taken", (TrackedSocket,), {"__slots__": (), **methods})
    return streams


CALLS = [
    *QUESTIONS.items(),
    *ORDERS.items(),
    ("sock", lambda conn: conn.sock),
    ("fileno", lambda conn: conn.fileno()),
]


# Under TLS a connection that is taken over keeps its socket.
@pytest.mark.parametrize("kind", ["unix", "tcp4"])
@pytest.mark.parametrize(("name", "call"), CALLS)
def test_asked_amid_a_hijack(get_place, kind, name, call):
    """To whoever asks, a connection that is taken over at that moment is never a closed one."""
    if not answers(name, kind):
        pytest.skip("this kind of socket has no such operation")
    for number in itertools.count():
        with get_place(kind).active() as (_client, conn):
            streams = take_at(conn, number)
            try:
                call(conn)
            except UnsupportedError:
                assert name == "original_destination"
            if not streams:  # all of its calls have had their turn
                break
            assert conn.state is ConnState.HIJACKED
            streams[0].close()
    assert number > 0


def ask_everything(conns, kind, failures):
    """Ask each of `conns` everything; put what is no rightful refusal into `failures`."""
    for conn, name in itertools.product(conns, QUESTIONS):
        try:
            ask(name, conn)
        except ConnectionClosedError as exc:
            if conn.state is not ConnState.CLOSED and not life_of(conn).ended_here:
                failures.append((name, exc))
        except UnsupportedError as exc:
            if answers(name, kind):
                failures.append((name, exc))
        except Exception as exc:  # noqa: BLE001  that is what is looked for
            failures.append((name, exc))


def test_asked_while_they_end(place):
    """Whoever asks while connections end, taken over or not, gets an answer or a true refusal."""
    conns, failures = [], []
    done = threading.Event()

    def go_on_asking():
        while not done.is_set():
            ask_everything(conns[-3:], place.name, failures)

    thread = threading.Thread(target=go_on_asking)
    thread.start()
    try:
        for number in range(30):
            with place.active() as (_client, conn):
                conns.append(conn)
                if number % 2:
                    conn.hijack().close()
        wait_for(lambda: all(life_of(conn).sock is None for conn in conns), "the end of all")
    finally:
        done.set()
        thread.join()
    assert failures == []


def test_never_another_connections_answer(unix):
    """A descriptor that is used again while its connection is asked gives no foreign answer."""
    found = []

    def go_on_asking(conn):
        with contextlib.suppress(ConnectionClosedError):
            while True:
                found.append(conn.queues().receive)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with unix.hijacked() as (client, conn, stream):
            client.send(b"x" * 777)
            wait_for(lambda: conn.queues().receive == 777, "bytes to read")
            for _ in range(50):
                close_while_asked(unix, stream.sock.fileno(), go_on_asking)
    finally:
        sys.setswitchinterval(before)
    assert set(found) == {0}


def close_while_asked(place, other, go_on_asking):
    """Close a connection that a thread asks, so that its number goes to a duplicate of `other`."""
    with place.hijacked() as (_client, conn, stream):
        thread = threading.Thread(target=go_on_asking, args=(conn,))
        thread.start()
        stream.close()
        duplicate = os.dup(other)
        thread.join()
        os.close(duplicate)


# The answers


def test_tcp_info(tcp):
    """`tcp_info()` is of this connection: established, and the request's bytes have arrived."""
    with tcp.active() as (_client, conn):
        info = conn.tcp_info()
        assert isinstance(info, TCPInfo)
        assert info.state is TCPState.ESTABLISHED
        request = len(b"GET /hold HTTP/1.1\r\nHost: test\r\n\r\n")
        if tcp.name == "tls":
            assert info.bytes_received > request
        else:
            assert info.bytes_received == request


def test_tcp_info_in_the_last_moment(tcp):
    """In a CLOSED hook the descriptor is still open: the last facts can be taken."""
    conn = tcp.closed()
    last = wait_for(lambda: tcp.last_info.get(conn.id), "the hook")
    assert last.bytes_received > 0
    assert last.data_segs_out > 0
    with pytest.raises(ConnectionClosedError):
        conn.tcp_info()


def test_tcp_info_in_the_last_moment_of_a_taken_connection(tcp):
    """So it is when the owner of a taken connection closes it."""
    with tcp.hijacked() as (client, conn, stream):
        stream.sendall(b"x" * 1000)
        client._exactly(1000)
        wait_for(lambda: conn.tcp_info().bytes_acked >= 1000, "the acknowledgement")
    assert tcp.last_info[conn.id].bytes_acked >= 1000


def test_congestion(tcp):
    """The congestion control algorithm can be read and changed, for this connection alone."""
    with tcp.active() as (_client, conn), tcp.active() as (_other_client, other):
        before = other.congestion
        assert before in ALGORITHMS
        conn.congestion = "reno"
        assert conn.congestion == "reno"
        assert conn.congestion_info() is None
        assert other.congestion == before


def test_unknown_congestion(tcp):
    """An algorithm that the kernel does not have is named in the error."""
    with tcp.active() as (_client, conn):
        before = conn.congestion
        with pytest.raises(UnsupportedError, match="congestion 'nonesuch'"):
            conn.congestion = "nonesuch"
        assert conn.congestion == before


@pytest.mark.parametrize("name", [None, 3, b"reno", ["reno"]])
def test_congestion_that_is_no_text(tcp, name):
    """What is not a str cannot be a name."""
    refusal = re.escape(f"congestion: {name!r} is not a str")
    with tcp.active() as (_client, conn), pytest.raises(TypeError, match=refusal):
        conn.congestion = name


def test_congestion_with_a_nul(tcp):
    """A name with a NUL is refused, instead of being cut off there."""
    with tcp.active() as (_client, conn):
        before = conn.congestion
        with pytest.raises(ValueError, match=r"congestion: 'reno.+' has a NUL in it"):
            conn.congestion = "reno\0x"
        assert conn.congestion == before


@pytest.mark.parametrize("name", ["réno", "\udc80"])
def test_congestion_that_no_kernel_has(tcp, name):
    """Text that can be no name of an algorithm is one that the kernel does not have."""
    refusal = r"congestion '.+: this kernel has no such algorithm"
    with tcp.active() as (_client, conn), pytest.raises(UnsupportedError, match=refusal):
        conn.congestion = name


@pytest.mark.skipif("bbr" not in ALGORITHMS, reason="this kernel has no BBR")
def test_congestion_info(tcp):
    """An algorithm with something to tell tells it."""
    with tcp.hijacked() as (client, conn, stream):
        conn.congestion = "bbr"
        assert isinstance(conn.congestion_info(), BBRInfo)
        stream.sendall(b"x" * 1000)
        client._exactly(1000)
        info = wait_for(
            lambda: (found := conn.congestion_info()).pacing_gain > 0 and found, "an ACK"
        )
        assert info.cwnd_gain > 0


def test_peer_credentials(unix):
    """A UNIX peer is the process that connected: here this one."""
    with unix.active() as (_client, conn):
        me = PeerCredentials(os.getpid(), os.geteuid(), os.getegid(), tuple(os.getgroups()))
        found = conn.peer_credentials()
        assert (found.pid, found.uid, found.gid) == (me.pid, me.uid, me.gid)
        assert set(found.groups) == set(me.groups)
        assert (found.user, found.group) == (me.user, me.group)
        assert found.group_names == {grp.getgrgid(each).gr_name for each in {me.gid, *me.groups}}


def test_peer_pidfd(unix):
    """The descriptor is of the peer's process, and closed after the block."""
    with unix.active() as (_client, conn):
        with conn.peer_pidfd() as fd:
            os.fstat(fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        assert pidfd(conn) == os.getpid()


def test_tls(get_place):
    """A TLS connection tells what was agreed on, the name the client asked for included."""
    with get_place("tls").active(server_hostname="a.name.of.ours") as (client, conn):
        info = conn.tls
        assert conn.is_tls
        assert info.version == client.sock.version()
        assert info.cipher == client.sock.cipher()[0]
        assert info.server_name == "a.name.of.ours"
        assert info.peer_certificate_der is None
        assert not info.resumed


def test_tls_of_a_taken_connection(get_place):
    """It tells the same to the owner that took it over."""
    with get_place("tls").hijacked() as (client, conn, _stream):
        assert conn.tls.server_name == "localhost"
        assert conn.tls.version == client.sock.version()


def test_tls_without_a_name(get_place):
    """A client that asks for no name leaves none, not that of another."""
    tls = get_place("tls")
    with tls.active(), tls.active(server_hostname=None) as (_client, conn):
        assert conn.tls.server_name is None


def test_receive_queue(place):
    """What the client has sent and nobody has read lies in the receive queue."""
    with place.hijacked() as (client, conn, stream):
        idle = conn.queues().receive
        client.send(b"x" * 1000)
        wait_for(lambda: conn.queues().receive >= idle + 1000, "the bytes in the queue")
        if place.name != "tls":
            assert conn.queues().receive == 1000
            assert len(stream.recv(600)) == 600
            assert conn.queues().receive == 400


def test_send_queue(place):
    """What the client does not read lies in the send queue; over UNIX the kernel does not say."""
    with place.hijacked() as (client, conn, _stream):
        if place.name == "unix":
            assert conn.queues() == Queues(0, None, None)
            return
        wait_for(lambda: conn.queues().send == 0, "an empty queue")
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        conn.sock.setblocking(False)  # noqa: FBT003
        with contextlib.suppress(BlockingIOError, OSError):
            while True:
                conn.sock.send(b"x" * 65536)
        found = conn.queues()
        assert found.send > 65536
        assert 0 < found.unsent <= found.send


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nodelay", True),
        ("cork", True),
        ("keepalive", True),
        ("keepalive_idle", 30.0),
        ("keepalive_interval", 5.0),
        ("keepalive_count", 4),
        ("user_timeout", 12.5),
        ("user_timeout", None),
        ("notsent_lowat", 16384),
        ("notsent_lowat", None),
        ("pacing_rate", 1_000_000),
        ("pacing_rate", None),
        ("priority", 5),
    ],
)
def test_options(tcp, name, value):
    """An option is read as it was set."""
    with tcp.active() as (_client, conn):
        setattr(conn.options, name, value)
        assert getattr(conn.options, name) == value


@pytest.mark.parametrize("name", ["send_buffer", "receive_buffer"])
def test_buffers(place, name):
    """Linux doubles the size of a buffer that is set, on every kind of socket."""
    with place.active() as (_client, conn):
        setattr(conn.options, name, 40_000)
        assert getattr(conn.options, name) == 80_000


def test_options_follow_the_connection(place):
    """An options object that was kept says "closed" when its connection has been."""
    with place.hijacked() as (_client, conn, stream):
        options = conn.options
        assert options.send_buffer > 0
        assert repr(options) == f"<Options of {conn.sock!r}>"
        stream.close()
        with pytest.raises(ConnectionClosedError):
            _ = options.send_buffer
        assert repr(options) == "<Options of a closed socket>"


def test_bad_option(tcp):
    """A number that does not fit is refused before the kernel sees it."""
    with tcp.active() as (_client, conn):
        with pytest.raises(ValueError, match=r"options\.keepalive_count: -1 is not between 1 and"):
            conn.options.keepalive_count = -1
        with pytest.raises(ValueError, match="user_timeout"):
            conn.options.user_timeout = 0


def test_dead_peer_timeout(tcp):
    """Keepalive and the user timeout are set together, and lifted together."""
    with tcp.active() as (_client, conn):
        conn.set_dead_peer_timeout(8)
        options = conn.options
        assert (options.keepalive, options.user_timeout) == (True, 8.0)
        assert options.keepalive_idle + options.keepalive_interval <= 8
        conn.set_dead_peer_timeout(None)
        assert (options.keepalive, options.user_timeout) == (False, None)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 1e9])
def test_bad_dead_peer_timeout(tcp, seconds):
    """A time that is none is refused, and nothing is set."""
    with tcp.active() as (_client, conn):
        with pytest.raises(ValueError, match="set_dead_peer_timeout"):
            conn.set_dead_peer_timeout(seconds)
        assert not conn.options.keepalive


def test_cookie(place):
    """A cookie stays with its connection, and no other connection has it."""
    with place.active() as (_client, conn), place.active() as (_other_client, other):
        assert conn.cookie == conn.cookie > 0
        assert conn.cookie != other.cookie


def test_cookie_of_a_taken_connection(place):
    """The cookie is the kernel socket's, so it is the same through whichever object it is asked."""
    with place.hijacked() as (_client, conn, stream):
        raw = stream.sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)
        assert conn.cookie == int.from_bytes(raw, sys.byteorder)


def test_original_destination(tcp):
    """Without a NAT it is our own address, or netfilter does not follow this connection."""
    with tcp.active() as (_client, conn):
        found = ask("original_destination", conn)
        if isinstance(found, UnsupportedError):
            assert "original_destination" in str(found)
        else:
            assert found == tcp.address


def test_peer_is_there(place):
    """A peer that has done nothing is there."""
    with place.active() as (_client, conn):
        assert conn.peer_status() is PeerStatus.OPEN
        assert not conn.is_disconnected()


def test_peer_half_closes(place):
    """A peer that will send no more counts as gone, though it can still read."""
    with place.active() as (client, conn):
        socket.socket.shutdown(client.sock, socket.SHUT_WR)
        wait_for(conn.is_disconnected, "the FIN")
        assert conn.peer_status() is PeerStatus.FIN_RECEIVED


def test_peer_closes(place):
    """A peer that closes is gone; over UNIX that is more than a half-close, over TCP the same."""
    with place.active() as (client, conn):
        client.close()
        wait_for(conn.is_disconnected, "the end")
        over = {PeerStatus.CLOSED if place.name == "unix" else PeerStatus.FIN_RECEIVED}
        if place.name == "tls":
            # Session tickets that the client has not read make its close a reset.
            over.add(PeerStatus.RESET)
        assert conn.peer_status() in over


def test_peer_resets(tcp):
    """A reset is told from a close."""
    with tcp.active() as (client, conn):
        client.reset()
        wait_for(conn.is_disconnected, "the reset")
        assert conn.peer_status() is PeerStatus.RESET


def test_answers_after_a_reset(tcp):
    """A connection that the peer has reset still answers: it is the peer that ended it, not we."""
    with tcp.active() as (client, conn):
        client.reset()
        wait_for(conn.is_disconnected, "the reset")
        assert conn.tcp_info().state is TCPState.CLOSE
        assert conn.queues().receive == 0
        assert conn.cookie > 0
        assert conn.congestion in ALGORITHMS


def test_credentials_after_the_peer_has_left(unix):
    """Who it was is still known when a UNIX peer has left."""
    with unix.active() as (client, conn):
        client.close()
        wait_for(conn.is_disconnected, "the end")
        assert conn.peer_credentials().pid == os.getpid()


# The SYN


def check_syn(syn, port, version=4):
    """Check that these are the headers of a SYN to `port`."""
    assert syn[0] >> 4 == version
    tcp = 40 if version == 6 else (syn[0] & 15) * 4
    _source, destination = struct.unpack_from("!2H", syn, tcp)
    assert destination == port
    assert syn[tcp + 13] & 0x12 == 0x02  # SYN without ACK


def test_saved_syn_without_the_setting(tcp):
    """Nothing is kept unless it was asked for."""
    with tcp.active() as (_client, conn):
        assert conn.saved_syn() is None


@pytest.mark.parametrize("name", PLACES[1:])
def test_saved_syn(tmp_path, certificate, monkeypatch, name):
    """With the setting the Werkzeug server's connections give their SYN, once."""
    monkeypatch.setattr(process_tracker.settings, "save_syn", True)
    with serving(name, tmp_path, certificate) as place, place.active() as (_client, conn):
        check_syn(conn.saved_syn(), place.address[1], 6 if name == "tcp6" else 4)
        assert conn.saved_syn() is None


# The workers


APP = '''
import json
import os
import threading

from flask import Flask, request

from flask_rawsocket import ConnState, RawSocket, RawSocketError

app = Flask(__name__)
app.config.from_prefixed_env("KERNEL")
rawsocket = RawSocket(app)
log = os.open(os.environ["CONTRACT_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
former = []


def pid_of_pidfd(conn):
    with conn.peer_pidfd() as fd:
        return bool(os.fstat(fd))


QUESTIONS = {
    "tcp_info": lambda conn: conn.tcp_info().state,
    "congestion": lambda conn: conn.congestion,
    "congestion_info": lambda conn: str(conn.congestion_info()),
    "peer_credentials": lambda conn: conn.peer_credentials().pid,
    "peer_pidfd": pid_of_pidfd,
    "peer_security_label": lambda conn: conn.peer_security_label(),
    "tls": lambda conn: conn.tls and conn.tls.server_name,
    "queues": lambda conn: conn.queues().receive,
    "options.nodelay": lambda conn: conn.options.nodelay,
    "options.send_buffer": lambda conn: conn.options.send_buffer,
    "cookie": lambda conn: conn.cookie,
    "saved_syn": lambda conn: [syn and syn.hex() for syn in (conn.saved_syn(), conn.saved_syn())],
    "peer_status": lambda conn: conn.peer_status(),
    "is_disconnected": lambda conn: conn.is_disconnected(),
}


def all_of(conn):
    """Give the answer to every question, or the name of the error."""
    found = {"id": conn.id, "state": conn.state.name}
    for name, ask in QUESTIONS.items():
        try:
            found[name] = ask(conn)
        except (RawSocketError, OSError) as exc:
            found[name] = {"error": type(exc).__name__}
    return found


@rawsocket.on_state_change(ConnState.CLOSED)
def closed(conn, _old, _new):
    os.write(log, json.dumps(all_of(conn)).encode() + b"\\n")


@app.get("/")
def index():
    conn = rawsocket.current_conn
    former.append(conn)
    return all_of(conn)


@app.get("/of/<int:number>")
def of(number):
    return all_of(next(conn for conn in former if conn.id == number))


@app.get("/take")
def take():
    conn = rawsocket.current_conn
    stream = conn.hijack()

    def own():
        with stream:
            stream.sendall(json.dumps(all_of(conn)).encode())

    threading.Thread(target=own).start()
    return ""
'''


@pytest.fixture(scope="module")
def get_worker(run_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    (folder / "asking.py").write_text(textwrap.dedent(APP))
    env = {"PYTHONPATH": str(folder), "KERNEL_RAWSOCKET_SAVE_SYN": "true"}
    with contextlib.ExitStack() as stack:
        made = {}

        def get(transport, name="gthread"):
            if (name, transport) not in made:
                made[name, transport] = stack.enter_context(
                    run_server(name, transport, app="asking:app", env=env)
                )
            return made[name, transport]

        yield get


@pytest.fixture
def worker(transport, get_worker):
    """The thread worker over each transport."""
    return get_worker(transport)


def check_answers(found, transport):
    """Check that what has an answer on this kind of socket has one, and nothing else."""
    for name in set(QUESTIONS) - {"original_destination"}:
        if answers(name, transport):
            assert not isinstance(found[name], dict), (name, found[name])
        else:
            assert found[name] == {"error": "UnsupportedError"}, name


def test_worker_in_a_request(worker):
    """On the thread worker, too, every question has its answer in a request."""
    with worker.connect() as client:
        found = client.request("/").json
        assert found["state"] == "ACTIVE"
        check_answers(found, worker.transport)
        assert found["tls"] == ("localhost" if worker.transport == "tls" else None)


def test_worker_taken_over(worker):
    """And when the connection was taken over."""
    with worker.connect() as client:
        client.get("/take")
        found = json.loads(client.rest())
    assert found["state"] == "HIJACKED"
    check_answers(found, worker.transport)


def test_worker_idle(worker):
    """And between requests, asked from another connection's request."""
    with worker.connect() as idle, worker.connect() as client:
        number = idle.request("/").json["id"]

        def is_idle():
            found = client.request(f"/of/{number}").json
            return found["state"] == "IDLE" and found

        found = wait_for(is_idle, "IDLE")
        check_answers(found, worker.transport)
        assert found["queues"] == 0
        assert found["cookie"] != client.request("/").json["cookie"]


def test_worker_closed(worker):
    """And in the CLOSED hook; afterwards each one says that the connection has been closed."""
    with worker.connect() as client:
        number = client.request("/").json["id"]
    last = wait_for(
        lambda: [each for each in worker.events() if each["id"] == number], "the CLOSED hook"
    )
    assert [each["state"] for each in last] == ["CLOSED"]
    check_answers(last[0], worker.transport)

    def afterwards():
        with worker.connect() as other:
            found = other.request(f"/of/{number}", "Connection: close").json
        errors = [found[name] for name in QUESTIONS if name in found]
        return all(each == {"error": "ConnectionClosedError"} for each in errors)

    wait_for(afterwards, "the descriptor to be closed")


@pytest.mark.parametrize("name", ["gthread", "sync"])
@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_worker_saved_syn(get_worker, transport, name):
    """`RAWSOCKET_SAVE_SYN` makes the listeners keep the SYN, which a connection gives once."""
    worker = get_worker(transport, name)
    with worker.connect() as client:
        first, second = client.request("/").json["saved_syn"]
        check_syn(bytes.fromhex(first), worker.address[1])
        source = bytes.fromhex(first)[12:16]
        assert str(ipaddress.ip_address(source)) == client.sock.getsockname()[0]
        assert second is None


@pytest.mark.parametrize("name", ["gthread", "sync"])
@pytest.mark.parametrize("transport", ["unix"])
def test_worker_saved_syn_unix(get_worker, transport, name):
    """The setting does no harm to a UNIX socket, which has no SYN."""
    with get_worker(transport, name).connect() as client:
        assert client.request("/").json["saved_syn"] == {"error": "UnsupportedError"}
