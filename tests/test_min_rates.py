"""The minimum data rates of a request's body and of its response, on every server of ours."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from conftest import SERVERS, TRANSPORTS
from servers import wait_for

GRACE = 0.5
BODY_RATE = 2000
RESPONSE_RATE = 50_000
CHUNK = 10_000

ENV = {
    "CONTRACT_RAWSOCKET_MIN_BODY_RATE": str(BODY_RATE),
    "CONTRACT_RAWSOCKET_MIN_RESPONSE_RATE": str(RESPONSE_RATE),
    "CONTRACT_RAWSOCKET_RATE_GRACE": str(GRACE),
    # The thread worker's poller would read them; its rates are in `workers/test_receiving.py`.
    "CONTRACT_RAWSOCKET_BODY_BUFFER": "0",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rate_servers(run_server):
    """The servers of this file, started when first asked for."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(name, transport):
            if (name, transport) not in started:
                options = ["--log-level", "info"] if name != "werkzeug" else []
                started[name, transport] = stack.enter_context(
                    run_server(name, transport, *options, app="rates:app", env=ENV)
                )
            started[name, transport].mark()
            return started[name, transport]

        yield get


@pytest.fixture(params=SERVERS)
def rates(request, transport, rate_servers):
    """Each of our servers over each transport, with rates that are soon fallen short of."""
    return rate_servers(request.param, transport)


@contextlib.contextmanager
def dribbling(send, data, seconds=0.05):
    """Inside, `send` is called with `data` again and again, in a thread of its own."""
    stop = threading.Event()

    def dribble():
        with contextlib.suppress(OSError):
            while not stop.wait(seconds):
                send(data)

    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def begin_upload(client, path, length, data=b""):
    client.get(path, f"Content-Length: {length}", method="POST", body=data)


@pytest.mark.parametrize("how", ["silent", "dribbled"])
def test_a_body_that_comes_too_slowly(rates, how):
    """It is answered with 408, be it that nothing comes or too little; that is no failure."""
    before = len(rates.log.read_text())
    with rates.connect() as client:
        begin_upload(client, "/body", 1_000_000, b"x" * 1500)
        with dribbling(client.send, b"x") if how == "dribbled" else contextlib.nullcontext():
            assert client.response().status == 408
    rates.wait_sequences("NAC")
    assert "Traceback" not in rates.log.read_text()[before:]


@pytest.mark.parametrize("how", ["silent", "dribbled"])
def test_a_body_that_is_read_ahead(run_server, transport, how):
    """The thread worker's poller keeps the rate as well, and calls no view then."""
    env = {**ENV, "CONTRACT_RAWSOCKET_BODY_BUFFER": "262144"}
    with run_server("gthread", transport, app="rates:app", env=env) as server:
        with server.connect() as client:
            begin_upload(client, "/body?compute=0", 1_000_000, b"x" * 500)
            with dribbling(client.send, b"x") if how == "dribbled" else contextlib.nullcontext():
                assert client.response().status == 408
        wait_for(lambda: "NAC" in server.sequences(), "the end")
        assert {"computing": True} not in server.events()
        assert "Traceback" not in server.log.read_text()


def test_a_slow_body_that_is_fast_enough(rates):
    """It is read whole, though it takes several times the grace."""
    with rates.connect() as client:
        begin_upload(client, "/body", 60 * 1000)
        pause = threading.Event()
        for _ in range(60):
            client.send(b"x" * 1000)
            pause.wait(0.03)
        assert client.response().json == {"length": 60_000}


def test_a_view_that_computes(rates):
    """The time in which nobody waits for the client does not count."""
    with rates.connect() as client:
        begin_upload(client, f"/body?compute={3 * GRACE}", 3000, b"x" * 1024)
        wait_for(lambda: any("reading" in each for each in rates.events()), "the view")
        client.send(b"x" * (3000 - 1024))
        assert client.response().json == {"length": 3000}


@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
def test_a_body_without_a_rate(rate_servers, transport):
    """A view may lift the rates; that ends with its request."""
    server = rate_servers("gthread", transport)
    with server.connect() as client:
        begin_upload(client, "/body?lift", 1030, b"x" * 1000)
        pause = threading.Event()
        for _ in range(30):
            client.send(b"x")
            pause.wait(0.05)
        assert client.response().json == {"length": 1030}
        begin_upload(client, "/body", 1030, b"x" * 1000)
        with dribbling(client.send, b"x", 0.2):
            assert client.response().status == 408


def test_a_rate_of_the_view(rates):
    """A view may ask for more than the application does."""
    with rates.connect() as client:
        begin_upload(client, "/body?grace=0.2", 1_000_000)
        with dribbling(client.send, b"x" * 500):
            assert client.response().status == 408


@pytest.mark.parametrize("name", SERVERS)
def test_a_record_that_does_not_come_whole(rate_servers, name):
    """What makes a TLS socket readable, and is no data, counts as nothing."""
    server = rate_servers(name, "tls")
    with server.connect() as client:
        begin_upload(client, "/body", 1_000_000, b"x" * 1500)
        socket.socket.sendall(client.sock, b"\x17\x03\x03\x40\x00")  # a record of 16 KiB
        with dribbling(lambda data: socket.socket.sendall(client.sock, data), b"x" * 200):
            assert client.response().status == 408


@pytest.mark.parametrize("path", ["/paced", "/file"])
def test_a_response_that_nobody_reads(rates, path):
    """The connection is closed, and one line in the log says why."""
    before = len(rates.log.read_text())
    with rates.connect() as client:
        client.get(f"{path}?small&chunks=2000")
        rates.wait_sequences("NAC")
        assert rates.closed()[-1]["reason"] == "ERROR"
    log = rates.log.read_text()[before:]
    assert log.count("the response was read too slowly") == 1
    assert "Traceback" not in log


@pytest.mark.parametrize("path", ["/paced", "/file"])
def test_a_response_that_is_read_fast_enough(rates, path):
    """It is sent whole, though that takes several times the grace."""
    chunks = 160
    with rates.connect() as client:
        client.get(f"{path}?small&chunks={chunks}", "Connection: close", version="1.0")
        data, pause = b"", threading.Event()
        while more := client.sock.recv(2 * CHUNK):
            data += more
            pause.wait(len(more) / 400_000)
        # The Werkzeug server sends chunks to a client of HTTP/1.0, too.
        assert data.partition(b"\r\n\r\n")[2].count(b"x") == CHUNK * chunks


@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
def test_the_rest_of_a_body_that_nobody_reads(rate_servers, transport):
    """A server that reads it, to keep the connection, does not wait for it for ever."""
    server = rate_servers("gthread", transport)
    before = len(server.log.read_text())
    with server.connect() as client:
        begin_upload(client, "/unread", 30_000, b"x")
        assert client.response().status == 200
        server.wait_sequences("NAC")
    assert "Traceback" not in server.log.read_text()[before:]
