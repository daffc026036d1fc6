"""Streams where the connection cannot be taken: the same code, with a thread held."""

from __future__ import annotations

import asyncio
import subprocess
import threading

import pytest
from flask import Flask
from servers import wait_for

from flask_rawsocket import NoConnectionError, RawSocket, UnsupportedError
from flask_rawsocket.streams._live import loop, streams
from flask_rawsocket.streams._writers import ThreadWriter

pytestmark = pytest.mark.slow

PLAIN = ["plain-gthread", "plain-sync", "plain-werkzeug"]


@pytest.fixture(params=PLAIN)
def plain(request, running_servers):
    """Each server that is not ours, over TCP."""
    return running_servers(request.param, "tcp", "live:app")


@pytest.fixture
def app():
    return Flask(__name__)


@pytest.fixture
def rawsocket(app):
    return RawSocket(app)


def quiet():
    """Wait until no stream is open in this process."""
    wait_for(lambda: len(streams) == 0, "the streams to end")


def test_test_client(app, rawsocket):
    """Under Flask's test client a stream is a response as any other."""
    ended = []

    @app.get("/")
    def view():
        async def generate():
            try:
                yield b"a"
                await asyncio.sleep(0)
                yield "b"
            finally:
                ended.append(True)

        return rawsocket.stream(generate(), status=201, mimetype="text/csv")

    response = app.test_client().get("/")
    assert (response.status_code, response.data, ended) == (201, b"ab", [True])
    assert response.mimetype == "text/csv"
    quiet()


def test_test_client_leaves(app, rawsocket):
    """A response that is closed early ends its generator, whose `finally` runs."""
    ended = []

    @app.get("/")
    def view():
        async def generate():
            try:
                yield b"a"
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        return rawsocket.stream(generate())

    response = app.test_client().get("/")
    parts = iter(response.response)
    assert [next(parts), next(parts)] == [b"", b"a"]
    response.close()
    parts.close()
    quiet()
    assert ended == [True]


def test_left_before_it_began(app, rawsocket):
    """A response that is closed before the loop has had its turn leaves nothing behind."""
    group, gate = rawsocket.group("x"), threading.Event()

    @app.get("/")
    def view():
        return rawsocket.events(group.join())

    loop().call_soon_threadsafe(gate.wait, 10)
    app.test_client().get("/", buffered=False).close()
    gate.set()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop()).result(10)
    quiet()
    assert len(group) == 0


def test_a_stream_that_never_waits():
    """One that always has room lets the loop have its turn all the same."""

    async def send_on():
        turns = []
        writer = ThreadWriter(asyncio.get_running_loop(), bool, bool)
        asyncio.get_running_loop().call_soon(turns.append, 1)
        while not turns:
            await writer.drain()

    asyncio.run(send_on())


def test_group_under_the_test_client(app, rawsocket):
    """A group reaches what holds a thread as well."""

    @app.get("/")
    def view():
        return rawsocket.events(rawsocket.group("x").join())

    response = app.test_client().get("/", buffered=False)
    wait_for(lambda: len(rawsocket.group("x")) == 1, "the member")
    assert [each.group.name for each in rawsocket.group("x")] == ["x"]
    rawsocket.group("x").send("one")
    rawsocket.group("x").close()
    assert b"data: one\n\n" in response.data
    quiet()
    assert len(rawsocket.group("x")) == 0


def test_failure(app, rawsocket):
    """A generator that fails breaks the response off."""

    @app.get("/")
    def view():
        async def generate():
            yield b"a"
            raise ValueError("a generator that fails")

        return rawsocket.stream(generate())

    with pytest.raises(Exception, match="has ended early"):
        _ = app.test_client().get("/").data


def test_backpressure(app, rawsocket):
    """A generator is not asked for more than fits before its client reads on."""
    made = []

    @app.get("/")
    def view():
        async def generate():
            for number in range(100):
                made.append(number)
                yield bytes(10000)

        return rawsocket.stream(generate())

    response = app.test_client().get("/")
    wait_for(lambda: len(made) >= 6, "the first parts")
    assert len(made) < 20
    assert len(response.data) == 100 * 10000
    quiet()


def test_wrong_arguments(app, rawsocket):
    """What cannot be meant is refused where it is written."""

    async def generate():
        yield b""

    with app.test_request_context():
        for options in ({"ping": 0}, {"idle_timeout": 0}, {"idle_timeout": -1}):
            with pytest.raises(ValueError, match="above 0"):
                rawsocket.events(generate(), **options)
        for source in (iter([b""]), b"", [b""]):
            with pytest.raises(TypeError, match="async generator"):
                rawsocket.stream(source)
        for handler in (lambda _: None, print, None):
            with pytest.raises(TypeError, match="coroutine function"):
                rawsocket.websocket(handler)


def test_websocket(app, rawsocket):
    """A WebSocket needs the connection, and says so."""
    failures = []

    async def talk(ws):
        raise AssertionError

    @app.route("/", websocket=True)
    def view():
        try:
            return rawsocket.websocket(talk)
        except NoConnectionError as exc:
            failures.append(exc)
            return ""

    app.test_client().get(
        "/", base_url="ws://localhost", headers={"Upgrade": "websocket", "Connection": "Upgrade"}
    )
    assert len(failures) == 1


@pytest.mark.slow
def test_plain_servers(plain):
    """Servers that are not ours send the same bodies."""
    with plain.connect() as client:
        body = client.request("/live/body?count=2&size=3", "Connection: close").body
    assert body.startswith(b"000111contexts False False")
    with plain.connect() as client:
        response = client.request("/live/events", "Connection: close")
    assert response.headers["content-type"] == "text/event-stream"
    assert response.body.endswith(b"data: last\n\n")


@pytest.mark.slow
def test_client_of_a_plain_server_leaves(plain):
    """A client that leaves is noticed where nothing is written, too."""
    with plain.connect() as client:
        client.get("/live/waits")
        client._until(b"begun")
    wait_for(lambda: any("finished" in each for each in plain.events()), "the generator's end")


@pytest.mark.slow
def test_websocket_on_a_plain_server(plain):
    """It is refused, and the log says which server to use."""
    with plain.connect() as client:
        client.get(
            "/live/ws/echo",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        )
        assert client.response().status == 500
    wait_for(lambda: "a WebSocket needs a server of Flask-RawSocket" in plain.tail(), "the log")
    assert issubclass(UnsupportedError, Exception)


@pytest.mark.slow
def test_http2(run_server):
    """Over HTTP/2 a stream holds a thread, and its body is whole."""
    pytest.importorskip("h2")
    with run_server("gthread", "tls", "--http-protocols", "h2,h1", app="live:app") as server:
        host, port = server.address
        for path, end in (
            ("/live/body?count=2&size=3", "same True"),
            ("/live/events", "data: last\n\n"),
        ):
            done = subprocess.run(
                [
                    *("curl", "-sfk", "--http2", "-m", "10", "-w", "%{http_version}"),
                    f"https://{host}:{port}{path}",
                ],
                check=False,
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert (done.returncode, done.stdout[-1:]) == (0, "2"), done
            assert done.stdout[:-1].endswith(end)
