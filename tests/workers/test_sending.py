"""A response that is complete holds no thread of the thread worker, however slowly it is read."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
from servers import wait_for

pytestmark = pytest.mark.slow

PIECE = bytes(range(256)) * 256
BODY = PIECE * 256

COMPLETE = ["bytes", "list", "file"]


@pytest.fixture(scope="module")
def sending_servers(run_server):
    """Workers of one thread, over each transport, started when first asked for."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(transport):
            if transport not in started:
                started[transport] = stack.enter_context(
                    run_server("gthread", transport, "--threads", "1", app="sending:app")
                )
            started[transport].mark()
            return started[transport]

        yield get


@pytest.fixture
def sending(transport, sending_servers):
    """A worker of one thread over each transport."""
    return sending_servers(transport)


def ask(server, *headers):
    with server.connect() as client:
        return client.request("/", *headers).json


def waiting(server, client, path, *headers):
    """Ask for a long answer, and return when the view has left it."""
    client.get(path, *headers)
    wait_for(lambda: "NA" in server.sequences(), "the request")
    return ask(server, "Connection: close")  # by the only thread


@pytest.mark.parametrize("what", COMPLETE)
def test_no_thread_is_held(sending, what):
    """Others are answered meanwhile; the answer is whole, and its connection kept."""
    with sending.connect() as client:
        waiting(sending, client, f"/long/{what}")
        assert "NA" in sending.sequences(), "ACTIVE until all is sent"
        answer = client.response()
        assert (answer.status, answer.body == BODY) == (200, True)
        wait_for(lambda: "NAI" in sending.sequences(), "IDLE")
        assert client.request().json["requests"] == 2
    sending.wait_sequences("NAC", "NAIAIC")


@pytest.mark.parametrize("what", COMPLETE)
def test_and_then_it_is_closed(sending, what):
    """With `Connection: close` the end comes behind the last byte, and for that reason."""
    with sending.connect() as client:
        waiting(sending, client, f"/long/{what}", "Connection: close")
        answer = client.response()
        assert answer.headers["connection"] == "close"
        assert answer.body == BODY
        assert client.rest() == b""
    sending.wait_sequences("NAC", "NAC")
    assert {each["reason"] for each in sending.closed()} == {"AFTER_RESPONSE"}


def test_pipelined_behind_it(sending):
    """The next request waits for it, and is answered then."""
    with sending.connect() as client:
        client.get("/long/bytes")
        client.get("/")
        wait_for(lambda: "NA" in sending.sequences(), "the request")
        ask(sending, "Connection: close")
        assert client.response().body == BODY
        assert client.response().json["requests"] == 2


def test_many_at_once(sending):
    """A dozen clients that do not read delay nobody, and have their answers afterwards."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(sending.connect()) for _ in range(12)]
        for number, client in enumerate(clients):
            client.get(f"/long/{COMPLETE[number % 3]}")
        wait_for(lambda: sending.sequences().count("NA") >= 12, "the requests")
        ask(sending, "Connection: close")
        for client in clients:
            assert client.response().body == BODY


@pytest.mark.parametrize("what", COMPLETE)
def test_a_client_that_leaves(sending, what):
    """Its connection is closed for that reason, and nothing of it stays open."""
    before = len(os.listdir(f"/proc/{ask(sending, 'Connection: close')['pid']}/fd"))
    wait_for(lambda: sending.sequences() == ["NAC"], "the end of the first")
    with sending.connect() as client:
        pid = waiting(sending, client, f"/long/{what}")["pid"]
    wait_for(lambda: sending.sequences() == ["NAC"] * 3, "all to be closed")
    assert sorted(each["reason"] for each in sending.closed()) == [
        "AFTER_RESPONSE",
        "AFTER_RESPONSE",
        "CLIENT",
    ]
    wait_for(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before, "its descriptors to be closed")


def test_aborted_meanwhile(sending):
    """Another view aborts it: the client sees that it is not whole."""
    with sending.connect() as client:
        key = client.request("/keep-by-key").json["key"]
        client.get("/long/bytes")
        wait_for(lambda: "NAIA" in sending.sequences(), "the request")
        with sending.connect() as other:
            assert other.request(f"/other?key={key}&call=abort").json == {"done": True}
        with pytest.raises((OSError, EOFError)):
            client.response()
        wait_for(lambda: "NAIAC" in sending.sequences(), "the end")
    assert "APP" in {each["reason"] for each in sending.closed()}


@pytest.mark.slow
@pytest.mark.parametrize("what", COMPLETE)
def test_a_client_that_reads_too_slowly(run_server, transport, what):
    """It is not waited for without end: the minimum rate holds here too, and a line says so."""
    env = {"CONTRACT_RAWSOCKET_RATE_GRACE": "0.5", "CONTRACT_RAWSOCKET_MIN_RESPONSE_RATE": "1e6"}
    options = "--threads", "1", "--log-level", "info"
    with run_server("gthread", transport, *options, app="sending:app", env=env) as server:
        wait_for(lambda: all(each.endswith("C") for each in server.sequences()), "quiet")
        server.mark()
        with server.connect() as client:
            waiting(server, client, f"/long/{what}")
            wait_for(lambda: server.sequences().count("NAC") == 2, "the end")
            assert "the response was read too slowly" in server.log.read_text()
        assert "Traceback" not in server.log.read_text()
        assert "ERROR" in {each["reason"] for each in server.closed()}


@pytest.mark.slow
def test_a_stop_waits_for_it(run_server, transport):
    """Within the grace: the client has its whole answer."""
    with (
        run_server("gthread", transport, "--threads", "1", app="sending:app") as server,
        server.connect() as client,
    ):
        waiting(server, client, "/long/bytes")
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: {"shutdown": True} in server.events(), "the stop")
        assert client.response().body == BODY
        assert server.process.wait(20) == 0


def test_what_its_view_still_makes(sending):
    """A generator goes on only as fast as it is read, in its thread; nothing is held in memory."""
    with sending.connect() as client, sending.connect() as other:
        client.get("/long/generator")
        wait_for(lambda: "NA" in sending.sequences(), "the request")
        other.get("/")
        other.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            other.response()
        assert client.response().body == BODY
        other.sock.settimeout(20)
        assert other.response().status == 200


def test_a_file_without_a_descriptor(sending):
    """It is read, and sent as any other body."""
    with sending.connect() as client:
        assert client.request("/long/memory").body == PIECE


def test_a_file_that_has_the_last_descriptor(sending):
    """It cannot be left to the poller, which takes one more; it is sent all the same."""
    with sending.connect() as client:
        assert client.request("/long/last-descriptor").body == PIECE
        assert client.request().json["requests"] == 2


def test_a_deadline_of_the_view(sending):
    """Its own thread keeps it."""
    with sending.connect() as client:
        client.get("/long/bytes?deadline=0.5")
        wait_for(lambda: "NAC" in sending.sequences(), "the end")
        with pytest.raises((OSError, EOFError)):
            client.response()
    assert [each["reason"] for each in sending.closed()] == ["ERROR"]
