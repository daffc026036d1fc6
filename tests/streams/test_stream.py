"""How streams end when the server stops, on every server."""

from __future__ import annotations

import contextlib
import signal

import pytest
from servers import EACH_SERVER_ONCE, wait_for
from talking import talking
from websockets.exceptions import ConnectionClosed

from flask_rawsocket.streams import current_stream

pytestmark = pytest.mark.slow


@pytest.fixture(params=EACH_SERVER_ONCE)
def stopping(request, run_server):
    """A server of this test's own."""
    with run_server(*request.param, app="live:app") as server:
        yield server


def interrupt(server):
    """Have the server stop, without waiting for it: Ctrl-C is what the development server knows."""
    server.process.send_signal(signal.SIGINT if server.name == "werkzeug" else signal.SIGTERM)


def test_events_end(stopping):
    """An event stream ends properly, and says when to come back."""
    with stopping.connect() as client:
        client.get("/live/join/x")
        _, client.buffered = client._until(b"\r\n\r\n")
        interrupt(stopping)
        body = client._chunks()
        name, value = body.strip().split(b": ")
        assert name == b"retry"
        assert 1000 <= int(value) <= 5000
        assert client.at_eof()
    assert stopping.process.wait(20) is not None


def test_bodies_are_cut(stopping):
    """A body that is not complete by the end of its time has no last chunk."""
    with stopping.connect() as client:
        client.get("/live/waits")
        _, client.buffered = client._until(b"begun\r\n")
        interrupt(stopping)
        assert client.rest() == b""
    assert stopping.process.wait(20) is not None


def test_websockets_are_told(stopping):
    """A WebSocket is closed with 1012, and its closing handshake is complete."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(talking(stopping, "/live/ws/echo")) for _ in range(20)]
        interrupt(stopping)
        for ws in sockets:
            with pytest.raises(ConnectionClosed):
                ws.recv()
            assert ws.close_code == 1012
    assert stopping.process.wait(20) is not None


def test_late_streams_are_told(run_server):
    """Without a limit of their own streams are told that begin late in a stop, too."""
    env = {"CONTRACT_RAWSOCKET_STOP_TIMEOUT": "null"}
    options = ["tcp", "--graceful-timeout", "15"]
    with (
        run_server("gthread", *options, app="live:app", env=env) as server,
        server.connect() as client,
    ):
        client.get("/live/late/6")
        wait_for(lambda: {"waiting": True} in server.events(), "the view")
        interrupt(server)
        head, client.buffered = client._until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert client._chunks().startswith(b"retry: ")
        assert server.process.wait(20) is not None


def test_current_stream_outside():
    """Outside of a stream the error says where there is one."""
    with pytest.raises(RuntimeError, match="no current stream"):
        _ = current_stream.connection
