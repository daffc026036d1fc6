"""WebSockets on every server, against the client of `websockets` and against raw frames."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading

import pytest
from servers import wait_for
from talking import frame, handshake, talking
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

pytestmark = pytest.mark.slow


def recorded(server, **fields):
    """Wait for an event with these fields."""
    wait_for(lambda: any(fields.items() <= each.items() for each in server.events()), f"{fields}")


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("size", [0, 126, 65536, 2**20])
def test_echo(live, compression, size):
    """Messages of any size come back as what they are, compressed or not."""
    with talking(live, "/live/ws/echo", compression=compression, max_size=None) as ws:
        for message in ("ä" * size, bytes(size)):
            ws.send(message)
            assert ws.recv() == message


def test_subprotocol_and_head(live):
    """The server's first choice among those that the client offers; after_request has its say."""
    offered = [Subprotocol("v1"), Subprotocol("v2"), Subprotocol("v3")]
    with talking(live, "/live/ws/echo?cookie=1", subprotocols=offered) as ws:
        assert ws.subprotocol == "v2"
        assert ws.response.headers["X-After"] == "was here"
        assert ws.response.headers["X-Middleware"] == "was here"
        assert "taste=sweet" in ws.response.headers["Set-Cookie"]
        assert "Content-Type" not in ws.response.headers


def test_close_by_client(live):
    """The client's code and reason are the handler's, and the connection ends as the CLIENT's."""
    with talking(live, "/live/ws/echo") as ws:
        ws.close(4123, "enough")
    recorded(live, closed=4123, reason="enough")
    live.wait_sequences("NAHC")
    assert live.closed()[0]["reason"] == "CLIENT"


def test_close_by_handler(live):
    """The handler's code and reason are the client's; it is given the variables of the route."""
    with talking(live, "/live/ws/view/hello") as ws:
        assert json.loads(ws.recv()) == {"word": "hello", "same": True}
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert (ws.close_code, ws.close_reason) == (4001, "bye")
    live.wait_sequences("NAHC")
    assert live.closed()[0]["reason"] == "APP"


def test_client_vanishes(live):
    """A client that leaves without a word is 1006."""
    with live.connect() as client:
        assert handshake(client, "/live/ws/echo")[0] == "HTTP/1.1 101 SWITCHING PROTOCOLS"
    recorded(live, closed=1006, reason="")
    live.wait_sequences("NAHC")


def test_handler_fails(live):
    """A handler that fails is 1011, and logged."""
    with talking(live, "/live/ws/fails") as ws, pytest.raises(ConnectionClosed):
        ws.recv()
    assert ws.close_code == 1011
    wait_for(lambda: "a handler that fails" in live.tail(), "the log")


@pytest.mark.parametrize("how", ["exit", "interrupt", "cancelled"])
def test_handler_exits(live, how):
    """sys.exit(), and a cancellation that is not ours, are failures, of this handler alone."""
    with talking(live, "/live/ws/echo") as other:
        with talking(live, f"/live/ws/ends/{how}") as ws, pytest.raises(ConnectionClosed):
            ws.recv()
        assert ws.close_code == 1011
        other.send("still there")
        assert other.recv() == "still there"


def test_another_loop(live):
    """A WebSocket is talked to on its own event loop, and says so elsewhere."""
    with talking(live, "/live/ws/elsewhere") as ws:
        for _ in range(3):
            assert "on its own event loop" in ws.recv()


def test_too_big(live):
    """A message beyond the limit is 1009."""
    with talking(live, "/live/ws/small") as ws:
        ws.send("x" * 101)
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert ws.close_code == 1009


def test_not_utf8(live):
    """A text that is not UTF-8, across fragments too, is 1007."""
    with live.connect() as client:
        handshake(client, "/live/ws/echo")
        client.send(frame(1, b"\xc3", final=False) + frame(0, b"\x28"))
        length = bytes([2 + len("not UTF-8")])
        assert client._exactly(4) == b"\x88" + length + (1007).to_bytes(2, "big")


def test_first_frame_in_the_handshake(live):
    """A frame in the handshake's own segment is not lost, nor a fragment, nor a ping."""
    first = frame(1, b"fr", final=False) + frame(9, b"p") + frame(0, b"agment")
    with live.connect() as client:
        handshake(client, "/live/ws/echo", body=first)
        assert client._exactly(3) == b"\x8a\x01p"
        assert client._exactly(10) == b"\x81\x08fragment"


def test_not_a_websocket(live):
    """What is no handshake, or of another site's page, is refused as HTTP refuses."""
    with live.connect() as client:
        assert client.request("/live/ws/echo", "Connection: close").status == 400
    for headers, status in (
        (["Origin: http://evil.example"], "403"),
        (["Origin: http://[test"], "403"),
        (["Origin: null"], "403"),
        (["Sec-WebSocket-Key: twice"], "400"),
    ):
        with live.connect() as client:
            assert handshake(client, "/live/ws/echo", *headers)[0].split()[1] == status
    with live.connect() as client:
        handshake(client, "/live/ws/echo", "Origin: http://evil.example")
        assert client._until(b"here.")[0].startswith(b"handled: WebSockets from http://evil")
    for origin in ("http://test", "http://TEST:80", "https://test"):
        with live.connect() as client:
            head = handshake(client, "/live/ws/echo", f"Origin: {origin}")
            assert head[0].split()[1] == "101"


def test_body(live):
    """A handshake with a body is refused: the body would be taken for frames."""
    for header, body in (
        ("Content-Length: 4", b"body"),
        ("Transfer-Encoding: chunked", b"0\r\n\r\n"),
    ):
        with live.connect() as client:
            head = handshake(client, "/live/ws/echo", header, body=body)
            assert head[0].split()[1] == "400"


@pytest.mark.parametrize("version", ["12", "14", ""])
def test_another_version(live, version):
    """A version that is not spoken is refused with the one that is (RFC 6455, section 4.4)."""
    with live.connect() as client:
        response = client.request(
            "/live/ws/echo",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Version: {version}",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        )
    assert response.status == 426
    assert response.headers["sec-websocket-version"] == "13"


def test_chat(live):
    """What one member says all members of the group hear."""
    with talking(live, "/live/ws/chat/r") as one, talking(live, "/live/ws/chat/r") as two:
        assert one.recv() == two.recv() == "joined"
        one.send("hello")
        assert one.recv() == two.recv() == "hello"
        two.send(b"bytes")
        assert one.recv() == two.recv() == b"bytes"
        with live.connect() as client:
            assert client.request("/live/send/r").json == {"members": 2}
            assert json.loads(one.recv()) == json.loads(two.recv()) == {"text": "hi"}
    wait_for(lambda: members(live, "r") == 0, "the members to leave")


def test_group_closes(live):
    """A group that closes says so to its WebSockets."""
    with talking(live, "/live/ws/chat/c") as ws:
        assert ws.recv() == "joined"
        with live.connect() as client:
            client.request("/live/close/c")
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert (ws.close_code, ws.close_reason) == (4000, "over")


def members(server, name):
    with server.connect() as client:
        return client.request(f"/live/members/{name}", "Connection: close").json["members"]


def test_deaf_handler(live):
    """A handler that waits for a group and not for its client leaves when that does."""
    with talking(live, "/live/ws/deaf/d") as ws:
        assert ws.recv() == "begun"
        wait_for(lambda: members(live, "d") == 1, "the member")
    wait_for(lambda: members(live, "d") == 0, "the member to leave")
    wait_for(lambda: any("finished" in each for each in live.events()), "the handler's end")


def test_many_at_once(live):
    """Connections do not hear each other's messages."""
    failures = []

    def talk(number):
        try:
            with talking(live, "/live/ws/echo") as ws:
                for count in range(20):
                    ws.send(f"{number}:{count}")
                    assert ws.recv() == f"{number}:{count}"
        except Exception as exc:  # noqa: BLE001
            failures.append(exc)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures


def test_slow(live):
    """A client that does not read what a group sends is dropped; others get everything."""
    with contextlib.ExitStack() as stack:
        slow = stack.enter_context(live.connect())
        handshake(slow, "/live/ws/chat/s")
        slow._exactly(8)
        quick = stack.enter_context(talking(live, "/live/ws/chat/s", max_size=None))
        assert quick.recv() == "joined"
        for _ in range(200):
            quick.send("x" * 60000)
            assert len(quick.recv()) == 60000
            if members(live, "s") == 1:
                break
        wait_for(lambda: any(e.get("why") == "SLOW_READER" for e in live.events()), "SLOW")


def test_without_the_library():
    """Without `websockets` everything else works, and the error says what to install."""
    program = (
        "import sys; sys.modules['websockets'] = None\n"
        "from flask import Flask\n"
        "from flask_rawsocket import RawSocket, streams\n"
        "app = Flask('app'); rawsocket = RawSocket(app)\n"
        "@app.get('/events')\n"
        "def events(): return rawsocket.events(one())\n"
        "async def one(): yield 'one'\n"
        "assert app.test_client().get('/events').data == b'data: one\\n\\n'\n"
        "try: streams.WebSocket\n"
        "except RuntimeError as exc: assert 'Flask-RawSocket[websocket]' in str(exc), exc\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)


def test_asyncio_is_imported_late():
    """A process that makes no stream does not pay for one."""
    program = "import sys, flask_rawsocket\nassert 'asyncio' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)
