"""The event loop and its TLS transport: streams, back pressure, failures, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading

import pytest
from accepting import dial, tcp_listener
from servers import client_context, wait_for

from flask_rawsocket import ConnState
from flask_rawsocket._hooks import Hooks
from flask_rawsocket._tracked_tls import track_tls
from flask_rawsocket.tracker import ConnectionTracker

BIG = bytes(range(250)) * 80_000
"""20 MB: more than the buffers of a loopback connection take."""


class Request:
    """The request in hand, as a server without read-ahead would have it."""

    def force_close(self):
        pass

    def refusal(self):
        return None

    def release(self):
        return b""


@pytest.fixture
def tracker():
    tracker = ConnectionTracker()
    yield tracker
    assert tracker.stop_handlers(5)


@pytest.fixture(params=["plain", "tls"])
def pair(request, tracker, certificate):
    """A client's socket, and the Connection that was accepted from it with a request in hand."""
    with contextlib.ExitStack() as stack:
        client, sock = dial(stack, tcp_listener(tracker, stack))
        client.settimeout(10)
        if request.param == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            wrapped = []
            thread = threading.Thread(
                target=lambda: wrapped.append(
                    track_tls(context).wrap_socket(sock, server_side=True)
                )
            )
            thread.start()
            client = stack.enter_context(client_context().wrap_socket(client))
            thread.join()
            sock = wrapped[0]
        connection = sock.connection
        client.sendall(b"x")
        assert sock.recv(1) == b"x"
        connection._exchange = Request()
        yield client, connection
        wait_for(lambda: connection.state is ConnState.CLOSED, "the handler's end")


def read_all(sock):
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


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


def test_what_the_streams_know(pair):
    """The transport gives its socket, and cannot half-close what is TLS."""
    client, connection = pair
    seen = {}

    async def handler(reader, writer):
        seen.update(
            socket=writer.get_extra_info("socket"),
            eof=writer.can_write_eof(),
            reading=writer.transport.is_reading(),
            protocol=writer.transport.get_protocol(),
        )
        writer.transport.pause_reading()
        writer.transport.resume_reading()
        writer.transport.set_protocol(writer.transport.get_protocol())
        writer.close()
        writer.close()
        writer.write(b"too late")
        seen.update(closing=writer.is_closing())

    connection.hijack_async(handler)
    assert read_all(client) == b""
    assert seen["socket"] is not None
    assert seen["eof"] is not isinstance(client, ssl.SSLSocket)
    assert seen["closing"]
    assert seen["reading"]


def test_abort(pair):
    """A transport that is aborted drops what it had to send."""
    client, connection = pair

    async def handler(reader, writer):
        writer.write(BIG)
        writer.transport.abort()

    connection.hijack_async(handler)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        assert len(read_all(client)) < len(BIG)


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


def test_closed_hooks_do_not_run_on_the_loop(pair, tracker):
    """A slow CLOSED hook of one connection does not stop the loop; it sees the descriptor open."""
    client, connection = pair
    hooks, seen = Hooks(), []

    def closed(conn, old, new):
        seen.append((threading.current_thread().name.split("_")[0], conn.fileno() >= 0))

    hooks.add([ConnState.CLOSED], closed)
    tracker.add_hooks(hooks)

    async def handler(reader, writer):
        writer.write(b"done")

    connection.hijack_async(handler)
    assert read_all(client) == b"done"
    wait_for(lambda: seen, "the hook")
    assert seen == [("rawsocket-closed", True)]


def test_waiting_for_those_taken_over_includes_their_hooks(pair, tracker):
    """A process that ends after `wait_hijacked` has not cut a CLOSED hook off."""
    _, connection = pair
    hooks, leave, seen = Hooks(), threading.Event(), []

    def closed(conn, old, new):
        leave.wait(10)
        seen.append(new)

    hooks.add([ConnState.CLOSED], closed)
    tracker.add_hooks(hooks)

    async def handler(reader, writer):
        writer.write(b"done")

    connection.hijack_async(handler)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert not tracker.wait_hijacked(0.05)
    leave.set()
    assert tracker.wait_hijacked(10)
    assert seen == [ConnState.CLOSED]


def test_a_handler_that_does_not_stop(tracker, pair):
    """Stopping gives up on a handler that does not listen, in time."""
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
    leave.set()


def test_a_stop_without_a_loop():
    """Where no handler ever ran there is nothing to stop."""
    assert ConnectionTracker().stop_handlers(0)
