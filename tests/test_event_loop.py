"""The event loop and its TLS transport: streams, back pressure, failures, stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import socket
import ssl
import threading

import pytest
from accepting import begin_request, dial, tcp_listener
from servers import client_context, wait_for

from flask_rawsocket import CloseReason, ConnState, RawSocketError
from flask_rawsocket._asyncio import served as _served
from flask_rawsocket._asyncio.event_loop import EventLoop
from flask_rawsocket._sockets.tls import TrackedSSLSocket, track_tls
from flask_rawsocket._tracking.hooks import Hooks
from flask_rawsocket._tracking.runner import Runner
from flask_rawsocket._tracking.tracker import ConnectionTracker

BIG = bytes(range(250)) * 80_000
"""20 MB: more than the buffers of a loopback connection take."""


@pytest.fixture
def tracker():
    tracker = ConnectionTracker()
    yield tracker
    assert tracker.stop_handlers(5)


class Waiting(TrackedSSLSocket):
    """Needs to read before it can write, or the other way round, as where keys change."""

    to_read = 0
    """How many reads have to come first; there is data for them."""
    writes = 0
    """How many writes were tried before that."""
    to_write = 0
    """How many reads need to write first."""

    def send(self, data, flags=0):
        if self.to_read:
            self.writes += 1
            raise ssl.SSLWantReadError
        return super().send(data, flags)

    def read(self, len=1024, buffer=None):  # noqa: A002
        if self.to_write:
            self.to_write -= 1
            raise ssl.SSLWantWriteError
        data = super().read(len, buffer)
        self.to_read = max(0, self.to_read - 1)
        return data


def secured(client, sock, certificate, stack):
    """Shake hands; give the client's end and the server's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = Waiting
    context.load_cert_chain(*certificate)
    wrapped = []
    thread = threading.Thread(
        target=lambda: wrapped.append(track_tls(context).wrap_socket(sock, server_side=True))
    )
    thread.start()
    client = stack.enter_context(client_context().wrap_socket(client))
    thread.join()
    return client, wrapped[0]


@pytest.fixture(params=["plain", "tls"])
def connect(request, tracker, certificate):
    """A function that connects: it gives a client's socket, and the Connection that was accepted.

    That has a request in hand.  All of them are to be CLOSED in the end.
    """
    with contextlib.ExitStack() as stack:
        listener, made = tcp_listener(tracker, stack), []

        def connect():
            client, sock = dial(stack, listener)
            client.settimeout(10)
            if request.param == "tls":
                client, sock = secured(client, sock, certificate, stack)
            made.append(sock.connection)
            client.sendall(b"x")
            assert sock.recv(1) == b"x"
            # Whatever the handshake has sent is acknowledged by the answer's answer.
            sock.sendall(b"y")
            assert client.recv(1) == b"y"
            client.sendall(b"z")
            assert sock.recv(1) == b"z"
            begin_request(made[-1])
            return client, made[-1]

        yield connect
        wait_for(lambda: all(each.state is ConnState.CLOSED for each in made), "the handlers' ends")


@pytest.fixture
def pair(connect):
    """One such client's socket, and its Connection."""
    return connect()


plain = pytest.mark.parametrize("connect", ["plain"], indirect=True)
over_tls = pytest.mark.parametrize("connect", ["tls"], indirect=True)


def only_line(caplog):
    """Wait for what this package logs, which is one line, and give it."""
    (line,) = wait_for(
        lambda: [each for each in caplog.records if each.name == "flask_rawsocket"], "the line"
    )
    return line


def read_all(sock):
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


def is_reset(sock):
    """Read to the end, past TLS, which calls a reset an end; tell whether it was a reset."""
    try:
        while socket.socket.recv(sock, 65536):
            pass
    except ConnectionResetError:
        return True
    return False


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def is_echoing(client):
    client.sendall(b"anybody there?")
    return client.recv(100) == b"anybody there?"


@contextlib.contextmanager
def blocked_loop(connection):
    """Have the loop stand still, in a handler of `connection`."""
    begun, leave = threading.Event(), threading.Event()

    async def block(reader, writer):
        begun.set()
        leave.wait(10)

    connection.hijack_async(block)
    assert begun.wait(10)
    try:
        yield
    finally:
        leave.set()


def closed_hook(tracker, function):
    """Have `function` called as a CLOSED hook; keep what is returned."""
    hooks = Hooks()
    hooks.add([ConnState.CLOSED], function)
    tracker.add_hooks(hooks)
    return hooks


def test_much_data_and_a_slow_reader(pair):
    """A handler that writes more than the socket takes waits in `drain`, and all arrives."""
    client, connection = pair
    paused = threading.Event()

    async def handler(reader, writer):
        writer.write(BIG)
        if writer.transport.get_write_buffer_size():
            paused.set()
        await writer.drain()

    connection.hijack_async(handler)
    assert paused.wait(10), "nothing had to wait"
    assert read_all(client) == BIG


def test_much_data_to_the_handler(pair):
    """A handler that reads slowly gets all of it."""
    client, connection = pair
    got = bytearray()

    async def handler(reader, writer):
        while chunk := await reader.read(1000):
            got.extend(chunk)
            if len(got) == len(BIG):
                break
        writer.write(b"thanks")
        await writer.drain()

    connection.hijack_async(handler)
    client.sendall(BIG)
    assert read_all(client) == b"thanks"
    assert got == BIG


def test_a_shutdown_of_the_socket_itself(pair):
    """It keeps the TLS session: what is written afterwards does not go out in the clear."""
    client, connection = pair
    with connection.hijack() as stream:
        stream.sock.shutdown(socket.SHUT_RD)
        stream.sendall(b"SECRET")
        assert client.recv(6) == b"SECRET"


@pytest.mark.parametrize("handler", [None, "handler"])
def test_what_cannot_be_called(pair, handler):
    """It is refused before anything is taken over."""
    client, connection = pair
    with pytest.raises(TypeError, match="takes a coroutine function"):
        connection.hijack_async(handler)
    assert connection.state is ConnState.ACTIVE
    connection.hijack().close()
    assert client.recv(1) == b""


def test_headers_without_a_protocol(pair):
    """Fields of a response that is not sent are refused before anything is taken over."""
    client, connection = pair
    with pytest.raises(ValueError, match="say which protocol"):
        connection.hijack_async(echo, headers={"A": "1"})
    assert connection.state is ConnState.ACTIVE
    connection.hijack_async(echo, headers={})
    assert is_echoing(client)
    client.close()


def test_what_the_streams_know(pair):
    """The transport gives its socket, and cannot half-close what is TLS."""
    client, connection = pair
    seen = {}

    async def handler(reader, writer):
        seen.update(
            socket=writer.get_extra_info("socket").fileno() == connection.fileno(),
            peername=writer.get_extra_info("peername"),
            sockname=writer.get_extra_info("sockname"),
            tls=writer.get_extra_info("sslcontext") is not None,
            eof=writer.can_write_eof(),
            reading=writer.transport.is_reading(),
            protocol=writer.transport.get_protocol(),
        )
        writer.transport.pause_reading()
        seen.update(paused=not writer.transport.is_reading())
        writer.transport.resume_reading()
        writer.transport.set_protocol(writer.transport.get_protocol())
        writer.close()
        writer.close()
        writer.write(b"too late")
        seen.update(closing=writer.is_closing())

    connection.hijack_async(handler)
    assert read_all(client) == b""
    is_tls = isinstance(client, ssl.SSLSocket)
    assert seen["peername"] == client.getsockname()
    assert seen["sockname"] == client.getpeername()
    assert (seen["tls"], seen["eof"]) == (is_tls, not is_tls)
    assert all(seen[each] for each in ("socket", "closing", "reading", "paused"))


@over_tls
def test_what_the_streams_know_of_tls(pair):
    """They know all that asyncio's own TLS transports know."""
    client, connection = pair
    seen = {}

    async def handler(reader, writer):
        for name in ("cipher", "compression", "peercert", "ssl_object", "sslcontext"):
            seen[name] = writer.get_extra_info(name, "not known")
        seen["version"] = seen["ssl_object"].version()

    connection.hijack_async(handler)
    assert read_all(client) == b""
    assert seen["cipher"] == client.cipher()
    assert seen["version"] == client.version()
    assert seen["peercert"] is seen["compression"] is None
    assert isinstance(seen["sslcontext"], ssl.SSLContext)


def test_write_buffer_limits(pair):
    """How much may wait to be sent is the handler's to say."""
    client, connection = pair
    limits, refused = [], []

    async def handler(reader, writer):
        limits.append(writer.transport.get_write_buffer_limits())
        writer.transport.set_write_buffer_limits(2 * len(BIG))
        limits.append(writer.transport.get_write_buffer_limits())
        writer.write(BIG)
        await writer.drain()  # does not wait
        limits.append(writer.transport.get_write_buffer_size() > 0)
        for wrong in ("text", [1, 2]):
            with contextlib.suppress(TypeError):
                writer.write(wrong)
                refused.append(wrong)

    connection.hijack_async(handler)
    wait_for(lambda: len(limits) == 3, "the handler")
    assert read_all(client) == BIG
    assert limits == [(16384, 65536), (len(BIG) // 2, 2 * len(BIG)), True]
    assert refused == []


def test_sendfile(pair, tmp_path):
    """`loop.sendfile` sends a file, over TLS by reading it."""
    client, connection = pair
    path, sent = tmp_path / "file", []
    path.write_bytes(BIG)

    async def handler(reader, writer):
        loop = asyncio.get_running_loop()
        with path.open("rb") as file:
            sent.append(await loop.sendfile(writer.transport, file))
        assert await reader.readexactly(5) == b"early"
        writer.write(b"and more")

    connection.hijack_async(handler)
    client.sendall(b"early")
    assert read_all(client) == BIG + b"and more"
    assert sent == [len(BIG)]


def test_a_request_to_the_end_of_the_stream(connect):
    """Who reads to the end can answer still: the peer has ended its own half, under TLS too."""
    client, connection = connect()

    async def handler(reader, writer):
        writer.write(b"you said: " + await reader.read())

    connection.hijack_async(handler)
    client.sendall(b"hello")
    if isinstance(client, ssl.SSLSocket):
        client.settimeout(0)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.unwrap()  # sends close_notify, and waits for ours
        client.settimeout(10)
        with pytest.raises(ssl.SSLZeroReturnError):
            while data := client.recv(100):
                assert data == b"you said: hello"
    else:
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"you said: hello"


@over_tls
def test_a_write_that_has_to_read_first(pair):
    """It waits for something to read, and does not try again and again until there is."""
    client, connection = pair
    sock, tried = connection.sock, []

    async def handler(reader, writer):
        sock.to_read = 1
        writer.write(b"hello")
        for _ in range(20):
            await asyncio.sleep(0)
        tried.append(sock.writes)
        assert await reader.readexactly(1) == b"y"

    connection.hijack_async(handler)
    wait_for(lambda: tried, "the handler to write")
    assert tried[0] < 3
    client.sendall(b"y")
    assert read_all(client) == b"hello"


@over_tls
def test_a_read_that_has_to_write_first(pair):
    """It is tried again when the socket takes something, and nothing is lost."""
    client, connection = pair
    connection.sock.to_write = 3
    connection.hijack_async(echo)
    assert is_echoing(client)
    assert connection.sock.to_write == 0
    client.close()


def test_a_protocol_that_fails(pair, caplog, monkeypatch):
    """A failure in the protocol is logged and ends the connection, as in asyncio."""
    client, connection = pair
    monkeypatch.setattr(_served, "_FLUSH_LIMIT", 0.1)
    begun, told = threading.Event(), []

    class Failing(asyncio.Protocol):
        def data_received(self, _):
            raise LookupError("cannot take it")

        def connection_lost(self, exc):
            told.append(exc)
            self.lost.set()

    async def handler(reader, writer):
        protocol = Failing()
        protocol.lost = asyncio.Event()
        writer.transport.set_protocol(protocol)
        begun.set()
        await protocol.lost.wait()

    connection.hijack_async(handler)
    assert begun.wait(10)
    client.sendall(b"x")
    assert read_all(client) == b""
    assert isinstance(told[0], LookupError)
    assert "protocol.data_received() call failed" in caplog.text


@over_tls
def test_a_fast_sender_is_not_alone(pair):
    """However much there is to read, the loop's other work has its turn."""
    client, connection = pair
    records, begun, there, got = 200, threading.Event(), threading.Event(), []

    class Counting(asyncio.Protocol):
        at_other_work = 0

        def data_received(self, data):
            if not got:
                asyncio.get_running_loop().call_soon(self.other_work)
            got.append(len(data))
            if len(got) == records:
                self.all_there.set()

        def other_work(self):
            self.at_other_work = len(got)

        def connection_lost(self, exc):
            self.streams.connection_lost(exc)

    protocol = Counting()

    async def handler(reader, writer):
        transport = writer.transport
        transport.pause_reading()
        protocol.all_there = asyncio.Event()
        protocol.streams = transport.get_protocol()
        transport.set_protocol(protocol)
        begun.set()
        await asyncio.to_thread(there.wait, 10)
        transport.resume_reading()
        await protocol.all_there.wait()

    connection.hijack_async(handler)
    assert begun.wait(10)
    for _ in range(records):
        client.sendall(b"x" * 10)
    there.set()
    assert read_all(client) == b""
    assert 0 < protocol.at_other_work < records


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def start_tls(client, stack):
    """Wait for the handler's word, and shake hands; give the client's TLS socket."""
    assert client.recv(3) == b"go\n"
    return stack.enter_context(client_context().wrap_socket(client))


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


@pytest.fixture
def starting(pair, tracker, certificate, stack, caplog):
    """A function that has TLS started by a handler, which calls a function and reads to the end.

    It gives the client's end.  CLOSED is to come once, and nothing to be logged.
    """
    client, connection = pair
    seen = []
    hooks = closed_hook(tracker, lambda conn, *_: seen.append(conn.fileno() >= 0))

    def start(then):
        async def handler(reader, writer):
            writer.write(b"go\n")
            await writer.start_tls(server_context(certificate))
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
            writer.write(await reader.readexactly(5))
            await writer.drain()
            if then(writer) != "return":
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""

        connection.hijack_async(handler)
        tls = start_tls(client, stack)
        tls.sendall(b"hello")
        assert tls.recv(5) == b"hello"
        return connection, tls

    yield start
    wait_for(lambda: seen, "the hook")
    assert tracker.wait_hijacked(10)
    assert seen == [True]
    assert caplog.text == ""
    del hooks


@plain
@pytest.mark.parametrize(
    ("how", "answer"),
    [
        ("return", socket.socket.close),
        ("return", reset),
        ("close", socket.socket.close),
        ("close twice", socket.socket.close),
    ],
)
def test_tls_that_is_started(starting, how, answer):
    """The handler's end is the server's; what its peer does at the end is none of the reasons."""

    def then(writer):
        for _ in range(["return", "close", "close twice"].index(how)):
            writer.close()
        return how

    connection, client = starting(then)
    assert read_all(client) == b""
    answer(client)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert connection.close_reason is CloseReason.APP


@plain
@pytest.mark.parametrize("end", [ssl.SSLSocket.unwrap, socket.socket.close, reset])
def test_a_peer_that_ends_tls(starting, end):
    """A close_notify, which is answered, is the end as much as a FIN without one, or a reset."""
    connection, client = starting(lambda _: None)
    end(client)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert connection.close_reason is CloseReason.CLIENT


@plain
@pytest.mark.parametrize("how", ["garbage", "fin", "reset"])
def test_a_handshake_that_fails(pair, certificate, caplog, how):
    """It is raised in the handler; let out, it is one line for information."""
    client, connection = pair
    caplog.set_level(logging.INFO)

    async def handler(reader, writer):
        writer.write(b"go\n")
        await writer.start_tls(server_context(certificate))

    connection.hijack_async(handler)
    assert client.recv(3) == b"go\n"
    if how == "garbage":
        client.sendall(b"this is no ClientHello\n")
        with contextlib.suppress(ConnectionError):
            read_all(client)
    elif how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    line = only_line(caplog)
    assert (line.levelno, line.exc_info) == (logging.INFO, None)
    assert "has ended before its handler" in line.message


@over_tls
def test_tls_that_is_there_already(pair, certificate):
    """A connection that is TLS starts no other inside: that is refused, and it goes on."""
    client, connection = pair

    async def handler(reader, writer):
        try:
            await writer.start_tls(server_context(certificate))
        except TypeError as exc:
            writer.write(str(exc).encode())

    connection.hijack_async(handler)
    assert b"is not supported by start_tls()" in read_all(client)


@plain
@pytest.mark.parametrize("how", ["abort", "stop"])
@pytest.mark.parametrize("amid", ["the handshake", "the stream"])
def test_an_end_after_start_tls(pair, tracker, certificate, stack, how, amid):
    """An abort and a stop find the transport below TLS, during the handshake too."""
    client, connection = pair

    async def handler(reader, writer):
        writer.write(b"go\n")
        await writer.start_tls(server_context(certificate))
        writer.write(b"hello")
        try:
            assert await reader.read() == b""
        except asyncio.CancelledError:
            writer.write(b"goodbye")
            raise

    connection.hijack_async(handler)
    if amid == "the stream":
        client = start_tls(client, stack)
        assert client.recv(5) == b"hello"
    else:
        assert client.recv(3) == b"go\n"
    if how == "stop":
        assert tracker.stop_handlers(5)
        assert read_all(client) == (b"goodbye" if amid == "the stream" else b"")
    else:
        connection.abort()
        assert is_reset(client)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert connection.close_reason is CloseReason.APP


@plain
def test_nobody_answers_the_end_of_tls(pair, certificate, stack, monkeypatch):
    """A peer that says no close_notify in answer to ours is awaited for a while, not for ever."""
    client, connection = pair
    monkeypatch.setattr(_served, "_FLUSH_LIMIT", 0.1)

    async def handler(reader, writer):
        writer.write(b"go\n")
        await writer.start_tls(server_context(certificate))

    connection.hijack_async(handler)
    client = start_tls(client, stack)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert connection.close_reason is CloseReason.APP


def test_abort(pair):
    """A transport that is aborted drops what it had to send."""
    client, connection = pair

    async def handler(reader, writer):
        writer.write(BIG)
        writer.transport.abort()

    connection.hijack_async(handler)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        assert len(read_all(client)) < len(BIG)


def test_abort_of_the_connection(connect):
    """`conn.abort()` resets; the handler finds the end, and later connections are served."""
    client, connection = connect()
    begun, ended = threading.Event(), []

    async def handler(reader, writer):
        begun.set()
        ended.append(await reader.read())

    connection.hijack_async(handler)
    assert begun.wait(10)
    number = connection.fileno()
    connection.abort()
    wait_for(lambda: ended, "the handler's end")
    assert ended == [b""]
    assert is_reset(client)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert connection.close_reason is CloseReason.APP
    client.close()  # or the descriptor would be the next client's
    numbers = []
    for _ in range(4):
        later, served = connect()
        numbers.append(served.fileno())
        served.hijack_async(echo)
        assert is_echoing(later)
        later.close()
    assert number in numbers, "no later connection has had the same descriptor"


def test_abort_before_the_handler_begins(connect):
    """An abort that comes before the loop has opened the streams takes effect then."""
    client, connection = connect()
    began = []

    async def handler(reader, writer):
        began.append(True)

    with blocked_loop(connect()[1]):
        connection.hijack_async(handler)
        connection.abort()
    assert is_reset(client)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert began == []


def test_abort_while_the_rest_is_sent(pair):
    """A handler that has ended, and whose peer does not read, can still be aborted."""
    _, connection = pair
    ended = threading.Event()

    async def handler(reader, writer):
        writer.write(BIG)
        ended.set()

    connection.hijack_async(handler)
    assert ended.wait(10)
    connection.abort()
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED", 3)


def test_nobody_reads_what_is_left(pair, monkeypatch):
    """What a handler leaves to be sent waits for its peer for a while, not for ever."""
    _, connection = pair
    monkeypatch.setattr(_served, "_FLUSH_LIMIT", 0.1)

    async def handler(reader, writer):
        writer.write(BIG)

    connection.hijack_async(handler)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")


def test_the_peer_resets(pair):
    """A handler whose peer resets sees the end of its stream, and is not left waiting."""
    client, connection = pair
    ended = threading.Event()

    async def handler(reader, writer):
        try:
            while await reader.read(1000):
                pass
            while True:
                writer.write(BIG)
                await writer.drain()
        except OSError:
            pass
        finally:
            ended.set()

    connection.hijack_async(handler)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert ended.wait(10)


def test_a_handler_that_fails(pair, caplog):
    """What a handler raises is logged with its connection."""
    client, connection = pair

    async def handler(reader, writer):
        raise LookupError("no such thing")

    with caplog.at_level(logging.ERROR):
        connection.hijack_async(handler)
        assert read_all(client) == b""
    assert "no such thing" in caplog.text
    assert f"<Connection {connection.id} " in caplog.text


@pytest.mark.parametrize("exit_", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("in_a_task", [False, True])
def test_a_handler_that_exits(connect, caplog, exit_, in_a_task):
    """A handler that wants to exit ends nobody's connection but its own."""
    other, others = connect()
    others.hijack_async(echo)
    assert is_echoing(other)
    client, connection = connect()

    async def leave():
        raise exit_("goodbye")

    async def handler(reader, writer):
        await (asyncio.create_task(leave()) if in_a_task else leave())

    connection.hijack_async(handler)
    assert read_all(client) == b""
    assert re.search(
        f"test_a_handler_that_exits.* failed on <Connection {connection.id} ", caplog.text
    )
    assert is_echoing(other)
    other.close()


def test_a_handler_that_stops_the_loop(connect):
    """The loop is not a handler's to stop."""
    other, others = connect()
    others.hijack_async(echo)
    assert is_echoing(other)
    client, connection = connect()

    async def handler(reader, writer):
        asyncio.get_running_loop().stop()

    connection.hijack_async(handler)
    assert read_all(client) == b""
    assert is_echoing(other)
    other.close()


def test_the_peer_has_left(pair, caplog):
    """That the peer is gone is no failure of the handler's: it is one line, for information."""
    client, connection = pair
    caplog.set_level(logging.INFO)
    begun = threading.Event()

    async def handler(reader, writer):
        begun.set()
        while True:
            writer.write(BIG)
            await writer.drain()

    connection.hijack_async(handler)
    assert begun.wait(10)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    line = only_line(caplog)
    assert (line.levelno, line.exc_info) == (logging.INFO, None)
    assert re.match(
        r"<Connection \d+ .* has ended before its handler .*handler: \w+\(", line.message
    )


def test_a_peer_that_has_left_is_not_mentioned(pair, caplog):
    """A handler that takes it as it comes has asyncio say nothing of it either, now or later."""
    client, connection = pair
    waiters = []

    async def handler(reader, writer):
        waiters.append(writer._protocol._get_close_waiter(writer))
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(BIG)
                await writer.drain()

    connection.hijack_async(handler)
    (waiter,) = wait_for(lambda: waiters, "the handler")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    # What asyncio would complain of, if the garbage collector comes to it first.
    wait_for(lambda: waiter.done() and not waiter._log_traceback, "its error to be taken")
    assert waiter.exception() is not None
    assert not caplog.records


def test_another_peer_has_left(pair, caplog):
    """Where the connection is well, its handler's ConnectionError is another one's: a failure."""
    client, connection = pair

    async def handler(reader, writer):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "upstream")

    connection.hijack_async(handler)
    assert read_all(client) == b""
    assert "upstream" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("result", [None, "text"])
def test_a_handler_that_is_no_coroutine_function(pair, caplog, result):
    """What cannot be awaited is a TypeError that says so, with the connection."""
    client, connection = pair

    def handler(reader, writer):
        return result

    connection.hijack_async(handler)
    assert read_all(client) == b""
    assert (
        f"TypeError: the handler is not a coroutine function: it returned {result!r}" in caplog.text
    )
    assert f"<Connection {connection.id} " in caplog.text


def test_streams_that_cannot_be_opened(pair, caplog, monkeypatch):
    """Whatever is in the way is logged, and the connection is closed."""
    client, connection = pair

    def refuse(*args):
        raise RuntimeError("that descriptor is used by another transport")

    loop_class = asyncio.selector_events.BaseSelectorEventLoop
    monkeypatch.setattr(loop_class, "connect_accepted_socket", refuse)
    monkeypatch.setattr(loop_class, "add_reader", refuse)
    connection.hijack_async(echo)
    assert read_all(client) == b""
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert f"<Connection {connection.id} " in caplog.text
    assert "could not be served: RuntimeError('that descriptor" in caplog.text


def test_a_loop_that_cannot_be_made(pair, monkeypatch):
    """Where there are no descriptors left for a loop, that shows before the hijack."""
    _, connection = pair

    def refuse():
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio, "new_event_loop", refuse)
    with pytest.raises(RawSocketError, match="Too many open files") as caught:
        connection.hijack_async(echo)
    assert isinstance(caught.value.__cause__, OSError)
    assert connection.state is ConnState.ACTIVE
    connection.hijack().close()


def test_stopping_cancels_the_handlers(pair, tracker):
    """A handler that waits is cancelled, can say goodbye, and its connection is closed."""
    client, connection = pair
    begun = threading.Event()

    async def handler(reader, writer):
        begun.set()
        try:
            await reader.read(1)
        except asyncio.CancelledError:
            writer.write(b"goodbye")
            raise

    connection.hijack_async(handler)
    assert begun.wait(10)
    assert tracker.stop_handlers(5)
    assert read_all(client) == b"goodbye"


def test_stopping_does_not_wait_for_peers(pair, tracker):
    """A cancelled handler's peer that does not read holds nothing up."""
    _, connection = pair
    begun = threading.Event()

    async def handler(reader, writer):
        writer.write(BIG)
        begun.set()
        await writer.drain()

    connection.hijack_async(handler)
    assert begun.wait(10)
    assert tracker.stop_handlers(4)
    assert connection.state is ConnState.CLOSED


def test_stopping_while_the_rest_is_sent(pair, tracker):
    """Nor does the peer of a handler that has ended."""
    _, connection = pair
    ended = threading.Event()

    async def handler(reader, writer):
        writer.write(BIG)
        ended.set()

    connection.hijack_async(handler)
    assert ended.wait(10)
    assert tracker.stop_handlers(4)
    assert connection.state is ConnState.CLOSED


def test_stopping_includes_the_hooks(pair, tracker):
    """When all have been stopped, the CLOSED hooks have run."""
    _, connection = pair
    begun, seen = threading.Event(), []

    def closed(conn, old, new):
        begun.wait(0.2)  # a hook that takes its time
        seen.append(new)

    hooks = closed_hook(tracker, closed)

    async def handler(reader, writer):
        started.set()
        await reader.read()

    started = threading.Event()
    connection.hijack_async(handler)
    assert started.wait(10)
    assert tracker.stop_handlers(5)
    assert seen == [ConnState.CLOSED]
    del hooks


def test_stopping_a_loop_that_is_blocked(pair, tracker):
    """A handler that blocks the loop is not waited for longer than was said."""
    with blocked_loop(pair[1]):
        assert not tracker.stop_handlers(0.05)


def test_closed_hooks_do_not_run_on_the_loop(pair, tracker):
    """A slow CLOSED hook of one connection does not stop the loop; it sees the descriptor open."""
    client, connection = pair
    seen = []

    def closed(conn, old, new):
        seen.append((threading.current_thread().name.split("_")[0], conn.fileno() >= 0))

    hooks = closed_hook(tracker, closed)

    async def handler(reader, writer):
        writer.write(b"done")

    connection.hijack_async(handler)
    assert read_all(client) == b"done"
    wait_for(lambda: seen, "the hook")
    assert seen == [("rawsocket-hooks", True)]
    del hooks


def test_waiting_for_those_taken_over_includes_their_hooks(pair, tracker):
    """A process that ends after `wait_hijacked` has not cut a CLOSED hook off."""
    _, connection = pair
    leave, seen = threading.Event(), []

    def closed(conn, old, new):
        leave.wait(10)
        seen.append(new)

    hooks = closed_hook(tracker, closed)

    async def handler(reader, writer):
        writer.write(b"done")

    connection.hijack_async(handler)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert not tracker.wait_hijacked(0.05)
    leave.set()
    assert tracker.wait_hijacked(10)
    assert seen == [ConnState.CLOSED]
    del hooks


def test_a_handler_that_does_not_stop(tracker, pair):
    """Stopping gives up on a handler that does not listen, in time; its connection is closed."""
    _, connection = pair
    begun, leave = threading.Event(), threading.Event()

    async def handler(reader, writer):
        begun.set()
        while not leave.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    connection.hijack_async(handler)
    assert begun.wait(10)
    assert not tracker.stop_handlers(0.05)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    leave.set()


def test_a_stop_without_a_loop():
    """Where no handler ever ran there is nothing to stop, and nothing to abort."""
    assert ConnectionTracker().stop_handlers(0)
    assert EventLoop(Runner("test")).stop(0)
    assert not EventLoop(Runner("test")).abort(object())
