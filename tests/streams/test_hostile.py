"""Clients that mean no good: what they can make a stream keep for them, and for how long."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest
from servers import wait_for
from talking import frame, handshake, talking
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from flask_rawsocket.streams._assembler import Assembler

pytestmark = pytest.mark.slow

SERVERS = ["werkzeug", "sync", "gthread", "gevent"]
FLOOD = 2 * 2**20
"""More than the buffers of a UNIX socket hold."""


@pytest.fixture(params=SERVERS)
def unix(request, running_servers):
    """Each of our servers over a UNIX socket, whose buffers are small."""
    found = running_servers(request.param, "unix", "live:app")
    found.mark()
    return found


def is_held_up(client, data):
    """Send `data` again and again; tell whether the server reads no more, long before FLOOD."""
    data *= 2**16 // len(data)
    client.sock.settimeout(1)
    try:
        for _ in range(FLOOD // len(data)):
            client.sock.sendall(data)
    except TimeoutError:
        return True
    return False


def free(server):
    """Have the handlers return that are busy; wait for that."""
    with server.connect() as client:
        client.request("/live/send/busy", "Connection: close")

    def members():
        with server.connect() as client:
            return client.request("/live/members/busy", "Connection: close").json["members"]

    wait_for(lambda: members() == 0, "the handler")


@pytest.mark.slow
@pytest.mark.parametrize("payload", [b"", b"ab"])
def test_small_messages(unix, payload):
    """Messages that are not taken are not read for ever, however small each of them is."""
    with unix.connect() as client:
        handshake(client, "/live/ws/busy")
        assert is_held_up(client, frame(2, payload))
    free(unix)


@pytest.mark.slow
def test_pings_without_end(unix):
    """Pings are not read while their answers are not."""
    with unix.connect() as client:
        handshake(client, "/live/ws/echo")
        assert is_held_up(client, frame(9, b"p" * 125))
        client.sock.settimeout(10)
        assert client._exactly(2**17)[:2] == b"\x8a\x7d"
    unix.wait_sequences("NAHC")


@pytest.mark.parametrize("payload", [b"", b"ab"])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_small_fragments(opcode, payload):
    """Fragments take no more than their bytes, however many there are."""
    count, assembler = 50_000, Assembler()
    tracemalloc.start()
    try:
        assembler.take(Frame(opcode, payload, fin=False))
        for _ in range(count):
            assembler.take(Frame(Opcode.CONT, payload, fin=False))
        assert tracemalloc.get_traced_memory()[0] < 2 * count * len(payload) + 4096
    finally:
        tracemalloc.stop()
    message = assembler.take(Frame(Opcode.CONT, b"", fin=True))
    assert len(message) == (count + 1) * len(payload)
    assert isinstance(message, str if opcode is Opcode.TEXT else bytes)


def rss(server):
    with server.connect() as client:
        return client.request("/live/rss", "Connection: close").json["rss"]


@pytest.mark.slow
def test_much_in_little(thread_worker):
    """A hundred messages that were compressed a thousandfold are not unpacked before their time."""
    zip_ = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = zip_.compress(bytes(2**20)) + zip_.flush(zlib.Z_SYNC_FLUSH)[:-4]
    length = len(packed).to_bytes(2, "big")
    message = b"\xc2\xfe" + length + bytes(4) + packed
    with thread_worker.connect() as client:
        head = handshake(client, "/live/ws/busy", "Sec-WebSocket-Extensions: permessage-deflate")
        assert any(line.startswith("Sec-WebSocket-Extensions: permessage") for line in head)
        before = rss(thread_worker)
        client.send(message * 100)
        client.send(frame(9, b"p"))
        assert rss(thread_worker) - before < 30 * 1024
    free(thread_worker)


def test_two_receive(live):
    """Two coroutines may receive at once; one that is left behind hears of the end."""
    with talking(live, "/live/ws/two") as ws:
        assert ws.recv() == "ready"
        ws.send("a")
        ws.send("b")
        assert ws.recv() == '["a", "b"]'
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert ws.close_code == 1000
    wait_for(lambda: {"left_behind": "ended"} in live.events(), "the one left behind")


def test_idle_streams(live):
    """Streams that say nothing are ended: events properly, another body cut off."""
    with live.connect() as client:
        assert client.request("/live/idle/events").body == b"data: begun\n\n"
    with live.connect() as client:
        assert client.request("/live/idle/group").body == b""
    live.wait_sequences("NAHC", "NAHC")
    with live.connect() as client:
        client.get("/live/idle/stream")
        assert client.rest().endswith(b"\r\n\r\n5\r\nbegun\r\n")
    live.wait_sequences("NAHC", "NAHC", "NAHC")
    assert [each["reason"] for each in live.closed()] == ["AFTER_RESPONSE"] * 2 + ["APP"]


def test_idle_websocket(live):
    """A WebSocket without messages is closed with 1001."""
    with talking(live, "/live/ws/idle") as ws:
        ws.send("one")
        assert ws.recv() == "one"
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert (ws.close_code, ws.close_reason) == (1001, "idle")
