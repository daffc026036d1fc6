"""waitress, managed: what only it has; what it shares is in the tests of every server."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import signal
import socket
import subprocess
import sys

import pytest
import waitress
from servers import wait_for
from talking import talking

from flask_rawsocket.waitress import create_server, serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def live_server(run_server):
    """One whose views return streams, and that is impatient."""
    env = {"CONTRACT_RAWSOCKET_HEADER_TIMEOUT": "0.5"}
    with run_server("waitress", "tcp", app="live:app", env=env) as server:
        yield server


@pytest.fixture
def live(live_server):
    live_server.mark()
    return live_server


def test_without_waitress(monkeypatch):
    """One sentence says what to install."""
    for name in [each for each in sys.modules if each.startswith("flask_rawsocket")]:
        if "waitress" in name:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "waitress", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'Flask-RawSocket\[waitress\]'"):
        importlib.import_module("flask_rawsocket.waitress")


def test_arguments():
    """They are waitress's own, and so are the errors."""
    expected = inspect.signature(waitress.server.create_server)
    assert inspect.signature(create_server) == expected
    with pytest.raises(ValueError, match='"app" passed'):
        create_server(None)
    with pytest.raises(ValueError, match="nonsense"):
        serve(lambda *_args: [], nonsense=1)


def test_the_command():
    """It has the options of waitress-serve."""
    command = [sys.executable, "-m", "flask_rawsocket.waitress", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "--listen" in done.stdout


def test_several_addresses():
    """Each of them tracks, and poll() is used, which takes any descriptor."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        server = create_server(lambda *_args: [], sockets=sockets, threads=1)
        stack.callback(server.close)
        listening = [each for each in server.map.values() if each.accepting]
        assert len(listening) == 2
        assert {type(each.socket).__name__ for each in listening} == {"PausingListener"}
        assert server.adj.asyncore_use_poll


def test_hooks(live):
    """None runs in the main loop; the descriptor is open in each."""
    with live.connect() as client:
        assert client.request().json["managed"]
        assert client.request().json["requests"] == 2
    live.wait_sequences("NAIAIC")
    events = [each for each in live.events() if each.get("id", 0) > live.seen and "new" in each]
    assert [each["main"] for each in events] == [False] * 6
    assert [each["usable"] for each in events] == [True] * 6


@pytest.fixture(scope="module")
def hookless(run_server):
    """One that has no hooks to run, so that the main loop does by itself what begins a request."""
    with run_server("waitress", "tcp", app="hookless:app") as server:
        yield server


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_pipelined_requests(hookless):
    """Each is answered, in order; empty lines between them, and a head in two parts, too."""
    with hookless.connect() as client:
        client.send(REQUEST + b"\r\n" + REQUEST + REQUEST[:10])
        found = [client.response().json["requests"] for _ in range(2)]
        client.send(REQUEST[10:] + b"\r\n")
        found.append(client.response().json["requests"])
        answer = client.request().json
    assert (found, answer) == ([1, 2, 3], {"state": "ACTIVE", "requests": 4})


def test_bytes_behind_a_hijack(hookless):
    """They come out first, however many were read with the request, and the rest after them."""
    behind = REQUEST * 3 + bytes(range(256)) * 1000
    with hookless.connect() as client:
        client.send(REQUEST)
        client.get(f"/rest?count={len(behind)}", body=behind)
        assert client.response().status == 200
        assert client.rest() == behind


def test_a_client_that_half_closes(hookless):
    """What it has sent before is answered."""
    with hookless.connect() as client:
        client.send(REQUEST * 2)
        client.sock.shutdown(socket.SHUT_WR)
        assert [client.response().status for _ in range(2)] == [200, 200]
        assert client.at_eof()


def test_a_late_head(live):
    """It is answered 408, in the time that the application allows and a turn of the main loop."""
    with live.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost:")
        assert client.rest().startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    live.wait_sequences("NAC")
    assert live.closed()[0]["why"] == "HEAD_TOO_SLOW"


def test_streams_hold_no_thread(live):
    """There are more of them than threads, and a WebSocket beside; another request is answered."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(live.connect())
            client.get("/live/waits")
        socket_ = stack.enter_context(talking(live, "/live/ws/echo"))
        socket_.send("hello")
        assert socket_.recv() == "hello"
        wait_for(
            lambda: len([each for each in live.sequences() if each == "NAH"]) == 11, "the streams"
        )
        with live.connect() as client:
            assert client.request("/", "Connection: close").status == 200


def test_head(live):
    """A response to HEAD has no body, not even the end of one."""
    with live.connect() as client:
        client.get("/live/body", "Connection: close", method="HEAD")
        assert client.rest().endswith(b"\r\n\r\n")
        assert not client.buffered


def test_large_file(live):
    """What waitress sends by itself, from a file, it does as before."""
    with live.connect() as client:
        client.get("/stream?n=50&size=65536", "Connection: close")
        head, body = client.rest().split(b"\r\n\r\n", 1)
    assert len(body) > 50 * 65536
    assert b"chunked" in head


def test_remote_addr(run_server):
    """A UNIX peer's is its key; a proxy that is trusted has its say before."""
    env = {"WAITRESS": '{"trusted_proxy": "localhost", "trusted_proxy_headers": "x-forwarded-for"}'}
    with run_server("waitress", "unix", env=env) as server, server.connect() as client:
        answer = client.request().json
        assert answer["remote_addr"] == answer["key"]
        assert answer["key"].startswith("@")
        told = client.request("/", "X-Forwarded-For: 192.0.2.1").json
        assert told["remote_addr"] == "192.0.2.1"
        assert told["key"] == answer["key"]


def test_deadlines_are_refused(run_server):
    """They would be the main loop's; so would minimum rates. The response is sent all the same."""
    with run_server("waitress", "tcp", app="handling:app") as server, server.connect() as client:
        found = client.request("/refused-here", "Connection: close").json
    assert "non-blocking" in found["set_deadlines"]
    assert "no minimum data rates are kept" in found["set_min_rates"]
    assert found["lifted"] is None


def test_control_c(run_server):
    """Functions given to on_shutdown are called, and hooks hear of what is open."""
    with run_server("waitress", "tcp", app="live:app") as server:
        server.mark()
        with server.connect() as idle, server.connect() as taken:
            assert idle.request().status == 200
            taken.get("/live/waits")
            wait_for(lambda: sorted(server.sequences()) == ["NAH", "NAI"], "both")
            server.process.send_signal(signal.SIGINT)
            assert idle.at_eof()
            taken.rest()
            assert server.process.wait(20) == 0
        assert {"shutdown": True} in server.events()
        assert sorted(server.sequences()) == ["NAHC", "NAIC"]
        assert {each["why"] for each in server.closed()} == {"STOPPED"}
