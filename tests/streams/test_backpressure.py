"""Clients that do not read, beside others that do: what they cost, and who notices."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import pytest
from flask import Flask
from servers import Client, wait_for
from talking import handshake

from flask_rawsocket import CloseReason, ConnState, RawSocket
from flask_rawsocket.streams._live import LiveStreams, loop, streams
from flask_rawsocket.streams._writers import QUEUE_LIMIT
from flask_rawsocket.testing import RawSocketServer

KINDS = ["/events", "/ws"]
SIZE = 1000
"""Of a message, in bytes; a frame or an event is a little more."""


@pytest.fixture
def app():
    app = Flask(__name__)
    rawsocket = RawSocket(app)
    group = rawsocket.group("all")

    @app.get("/events")
    def events():
        return rawsocket.events(group.join())

    @app.route("/ws", websocket=True)
    @rawsocket.websocket_view
    async def ws(ws):
        with group.join(ws):
            async for _ in ws:
                pass

    return app


@pytest.fixture
def rawsocket(app):
    return app.extensions["rawsocket"]


@pytest.fixture
def join(app, rawsocket):
    """A function that connects a member over a UNIX socket, whose buffers are small."""
    with RawSocketServer(app, "unix") as server, contextlib.ExitStack() as stack:

        def connect(path):
            before = len(rawsocket.group("all"))
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(server.path)
            sock.settimeout(20)
            client = stack.enter_context(Client(sock))
            if path == "/ws":
                handshake(client, path)
            else:
                client.get(path)
                _, client.buffered = client._until(b"\r\n\r\n")
            wait_for(lambda: len(rawsocket.group("all")) > before, "the member")
            return client

        yield connect
        rawsocket.group("all").close()


def on_loop(function):
    """Return what `function` returns on the event loop."""

    async def call():
        return function()

    return asyncio.run_coroutine_threadsafe(call(), loop()).result(20)


def waiting():
    """Return the most that waits for one client, in bytes, and how many there are."""
    sizes = on_loop(lambda: [each._out.waiting() for each in streams._streams])
    return max(sizes), len(sizes)


@pytest.mark.parametrize("path", KINDS)
def test_one_that_stalls(join, rawsocket, path):
    """It costs 64 KiB and a message, and is dropped as SLOW_READER; others hear each message."""
    group, reasons = rawsocket.group("all"), []

    @rawsocket.on_state_change(ConnState.CLOSED)
    def closed(conn, _old, _new):
        reasons.append(conn.close_reason)

    readers = [join(each) for each in KINDS]
    join(path)
    most, count = 0, 3
    for number in range(2000):
        group.send(f"{number:05}" + "x" * (SIZE - 5))
        for each in readers:  # before the next is sent
            _, each.buffered = each._until(f"{number:05}".encode())
            each._exactly(SIZE - 5)
        size, count = waiting()
        most = max(most, size)
        if count == len(readers):
            break
    assert count == len(readers)
    assert QUEUE_LIMIT <= most < QUEUE_LIMIT + SIZE + 100
    assert wait_for(lambda: reasons, "the reason") == [CloseReason.SLOW_READER]


@pytest.mark.parametrize("path", KINDS)
def test_a_large_message(join, rawsocket, path):
    """A message larger than what may wait is for those who read: nothing waited before it."""
    client, heard = join(path), []

    async def listen():
        heard.extend([len(data) async for data in rawsocket.group("all").join()])

    listening = asyncio.run_coroutine_threadsafe(listen(), loop())
    wait_for(lambda: len(rawsocket.group("all")) == 2, "the members")
    for letter in (b"a", b"b"):
        rawsocket.group("all").send(letter.decode() * 20 * QUEUE_LIMIT)
        while client.buffered.count(letter) < 20 * QUEUE_LIMIT:
            client._more()
    assert len(rawsocket.group("all")) == 2
    rawsocket.group("all").close()
    listening.result(20)
    assert heard == [20 * QUEUE_LIMIT] * 2


@pytest.mark.parametrize("path", KINDS)
def test_publishers_in_threads(join, rawsocket, path):
    """Of what eight threads publish a client loses nothing, and each one's comes in order."""
    client, group, count = join(path), rawsocket.group("all"), 200

    def publish(name):
        for number in range(count):
            group.send(f"<{name}{number:03}>")

    threads = [threading.Thread(target=publish, args=[name]) for name in "ABCDEFGH"]
    for each in threads:
        each.start()
    heard = {name: [] for name in "ABCDEFGH"}
    for _ in range(8 * count):
        _, client.buffered = client._until(b"<")
        message, client.buffered = client._until(b">")
        heard[message[:1].decode()].append(int(message[1:]))
    for each in threads:
        each.join()
    assert heard == {name: list(range(count)) for name in "ABCDEFGH"}


def test_told_in_batches():
    """At a stop the loop has its turn between batches, and all are told in the time."""
    told, most, live = [], 0, LiveStreams()

    class Told:
        def stop(self):
            told.append(self)

    for _ in range(1050):
        live.add(Told())

    async def run():
        nonlocal most
        telling = asyncio.ensure_future(live.stop_all(0.1))
        before = 0
        while not telling.done():
            await asyncio.sleep(0)
            most, before = max(most, len(told) - before), len(told)

    asyncio.run(run())
    assert len(set(told)) == 1050
    assert most == 100
