"""What the streams of a handler are: data both ways, what they know, and TLS that is started."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading

import pytest
from servers import client_context, wait_for
from streaming import (
    BIG,
    closed_hook,
    echo,
    is_echoing,
    is_reset,
    only_line,
    over_tls,
    plain,
    read_all,
    server_context,
    start_tls,
)

from flask_rawsocket import CloseReason, ConnState


@pytest.mark.slow
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
    assert connection.close_reason.group is CloseReason.APP


@plain
@pytest.mark.parametrize("end", [ssl.SSLSocket.unwrap, socket.socket.close, reset])
def test_a_peer_that_ends_tls(starting, end):
    """A close_notify, which is answered, is the end as much as a FIN without one, or a reset."""
    connection, client = starting(lambda _: None)
    end(client)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert connection.close_reason.group is CloseReason.CLIENT


@plain
@pytest.mark.parametrize("early", [5, None], ids=["part of it", "all of it"])
def test_a_hello_that_has_come_already(pair, certificate, early):
    """A ClientHello in the segment of the last word in the clear is the TLS layer's to read."""
    client, connection = pair
    word_read, more = threading.Event(), threading.Event()

    async def handler(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        word_read.set()
        await asyncio.to_thread(more.wait, 10)
        await writer.start_tls(server_context(certificate))
        writer.write(b"you said: " + await reader.readexactly(5))
        await writer.drain()
        await reader.read()

    connection.hijack_async(handler)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    client.sendall(b"STARTTLS\n" + hello[:early])
    assert word_read.wait(10)
    more.set()
    if early is not None:
        client.sendall(hello[early:])

    def until_done(call, *args):
        while True:
            try:
                return call(*args)
            except ssl.SSLWantReadError:
                client.sendall(outgoing.read())
                data = client.recv(65536)
                assert data, "the server has closed"
                incoming.write(data)
            finally:
                client.sendall(outgoing.read())

    until_done(tls.do_handshake)
    tls.write(b"hello")
    assert until_done(tls.read, 100) == b"you said: hello"
    client.close()


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
    assert connection.close_reason.group is CloseReason.APP


@plain
def test_a_tls_layer_of_ones_own(pair, certificate):
    """It takes the descriptor with it: for the map that is the end, and the layer lives."""
    client, connection = pair
    stream = connection.hijack()
    layers = []

    def wrap():
        layers.append(server_context(certificate).wrap_socket(stream.sock, server_side=True))

    thread = threading.Thread(target=wrap)
    thread.start()
    with client_context().wrap_socket(client) as tls:
        thread.join()
        assert connection.state is ConnState.CLOSED
        assert connection.close_reason.group is CloseReason.APP
        with layers[0] as layer:
            tls.sendall(b"hello")
            assert layer.recv(5) == b"hello"
            layer.sendall(b"there")
            assert tls.recv(5) == b"there"
