"""The TLS transport: its buffer, reads that have to write first, and the end of TLS."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest
from servers import wait_for
from streaming import BIG, echo, is_echoing, over_tls, plain, read_all, server_context, start_tls

from flask_rawsocket import CloseReason, ConnState
from flask_rawsocket._asyncio import served as _served


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert connection.close_reason.group is CloseReason.APP
