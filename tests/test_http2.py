"""HTTP/2 on the workers: the states follow the streams, and the connection is nobody's."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import struct
import subprocess

import pytest
from multiplexing import Client, h2_connection, h2_events, needs_pump, recorded
from servers import PATIENCE, client_context, wait_for

gthread = pytest.importorskip("gunicorn.workers.gthread")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def name(request):
    """The workers that speak HTTP/2."""
    return request.param


@pytest.fixture(scope="module")
def server(run_server, name):
    with run_server(name, "tls", "--http-protocols", "h2,h1", app="streams:app") as server:
        yield server


def test_states(server):
    """ACTIVE while a stream is open, IDLE while none is, whatever other frames come."""
    server.mark()
    with Client(server) as client:
        first = json.loads(client.request("/"))
        wait_for(lambda: server.sequences() == ["NAI"], "IDLE")
        client.h2.ping(b"12345678")
        client.flush()
        second = json.loads(client.request("/"))
        assert (first["id"], first["requests"]) == (second["id"], 1)
        assert (second["requests"], second["data"]) == (2, {"seen": 2})
    server.wait_sequences("NAIAIC")
    assert server.closed()[0]["reason"] == "CLIENT"


def test_two_streams_at_once(server):
    """Streams that overlap are one time of being ACTIVE."""
    server.mark()
    with Client(server) as client:
        streams = [client.begin("/"), client.begin("/")]
        client.flush()
        bodies = client.answers(*streams)
        assert sorted(json.loads(each)["requests"] for each in bodies) == [1, 2]
    server.wait_sequences("NAIC")


def test_a_connection_without_a_stream(server):
    """A client that only says hello has made no request."""
    server.mark()
    with Client(server) as client:
        client.h2.ping(b"12345678")
        client.flush()
        while not any(
            isinstance(event, h2_events.PingAckReceived)
            for event in client.h2.receive_data(client.sock.recv(65536))
        ):
            pass
    server.wait_sequences("NC")


def test_a_violation(server):
    """A frame that HTTP/2 does not allow is an error, and not a time that is over."""
    server.mark()
    with Client(server) as client:
        assert json.loads(client.request("/"))["requests"] == 1
        client.sock.sendall(b"\x00\x00\x01\x06\x00\x00\x00\x00\x00x")  # a PING of one byte
        with contextlib.suppress(ConnectionError):
            while client.sock.recv(65536):
                pass
    server.wait_sequences("NAIC")
    assert server.closed()[0]["reason"] == "ERROR"
    assert server.closed()[0]["why"] == "HTTP2_ERROR"


def test_watches_end_with_their_stream(server):
    """What a stream wants to hear of is forgotten with it, on a connection that lives on."""
    before = len(server.events())
    with Client(server) as client:
        for _ in range(10):
            assert client.request("/watch-this") == b"watched"
        assert json.loads(client.request("/watches")) == 0
    wait_for(server.closed, "CLOSED")
    assert {"gone": True} not in server.events()[before:]


@pytest.mark.skipif(not hasattr(gthread, "negotiation"), reason="gunicorn before 26.2")
def test_the_preface_is_not_a_request(run_server, name):
    """HTTP/2 in the clear by prior knowledge: ACTIVE comes with the first stream, if any."""
    options = ("--http-protocols", "h2,h1", "--http2-cleartext", "prior-knowledge")
    with run_server(name, "tcp", *options, app="streams:app") as server:
        wait_for(server.closed, "the end of the connection that asked whether it runs")
        server.mark()
        h2 = h2_connection.H2Connection()
        h2.initiate_connection()
        with server.raw() as sock:
            sock.sendall(h2.data_to_send())
            assert sock.recv(65536)
        server.wait_sequences("NC")


def test_what_one_stream_may_not_do(server):
    """The connection is shared by its streams: none of them may take it."""
    with Client(server) as client:
        answer = client.request("/try?what=hijack")
        assert answer.startswith(b"UnsupportedError: ")
        assert b"HTTP/2" in answer
        assert json.loads(client.request("/"))["requests"] == 2


def test_deadlines_end_with_their_stream(server):
    """The connection may be silent for longer afterwards."""
    with Client(server) as client:
        assert client.request("/deadline") == b"soon"
        client.sock.settimeout(0.6)
        with pytest.raises(TimeoutError):  # nothing comes, and no end
            client.sock.recv(1)
        client.sock.settimeout(10)
        assert json.loads(client.request("/"))["requests"] == 2


@pytest.mark.parametrize("reset", [False, True])
def test_clients_that_leave_after_the_handshake(run_server, reset):
    """The log says nothing of them unless it is asked to, and CLIENT is why they ended."""
    options = ["--http-protocols", "h2,h1", "--log-level", "info"]
    with run_server("gthread", "tls", *options, app="streams:app") as server:
        wait_for(server.closed, "the end of the connection that asked whether it runs")
        server.mark()
        context = client_context()
        context.set_alpn_protocols(["h2"])
        for _ in range(20):
            sock = context.wrap_socket(server.raw())
            assert sock.selected_alpn_protocol() == "h2"
            if reset:
                linger = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.close()
        wait_for(lambda: len(server.closed()) == 20, "their ends")
        assert {each["reason"] for each in server.closed()} == {"CLIENT"}
        log = server.log.read_text()
        assert "ERROR" not in log, server.tail()
        assert "Traceback" not in log


@needs_pump
@pytest.mark.parametrize("how", ["ask", "checkpoints", "until", "events?silent=1", "events?n=3"])
@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_stream_that_is_reset(server, how, meanwhile):
    """It stops its view, and nobody else: what came meanwhile is answered, on the connection."""
    before, name = len(server.events()), how.split("?", maxsplit=1)[0]
    if how == "events?n=3":
        how = "events?n=3&silent=1"
    with Client(server) as client:
        stream = client.begin(f"/{how}")
        client.flush()
        wait_for(lambda: recorded(server, before, began=name), "the view")
        other = client.begin("/") if meanwhile else None
        client.h2.reset_stream(stream, error_code=8)
        client.flush()
        wait_for(lambda: recorded(server, before, stopped=name), "its end")
        if name == "ask":
            wait_for(lambda: recorded(server, before, told=True), "its callback")
        if meanwhile:
            assert json.loads(client.answers(other)[0])["requests"] == 2
        assert json.loads(client.request("/"))["requests"] == 2 + meanwhile
    assert "Traceback" not in server.tail()


@needs_pump
def test_a_body_that_comes_while_it_is_asked(server):
    """What is read to find the client's end is not lost: it is the body of this stream."""
    before = len(server.events())
    with Client(server) as client:
        stream = client.begin("/asked-body", end=False)
        client.flush()
        wait_for(lambda: recorded(server, before, began="asked-body"), "the view")
        for last in (False, False, True):
            client.h2.send_data(stream, b"x" * 1000, end_stream=last)
            client.flush()
        assert client.answers(stream) == [b"x" * 3000]


def test_another_thread_reads_nothing(server):
    """It knows what the stream's own thread has seen."""
    with Client(server) as client:
        assert json.loads(client.request("/other-thread")) == {"gone": False}


def test_the_end_of_the_connection(server):
    """It is seen as on any connection."""
    before = len(server.events())
    with Client(server) as client:
        client.begin("/ask")
        client.flush()
        wait_for(lambda: recorded(server, before, began="ask"), "the view")
    wait_for(lambda: recorded(server, before, stopped="ask"), "its end")
    wait_for(lambda: recorded(server, before, told=True), "the callback")


@needs_pump
@pytest.mark.parametrize(("path", "body"), [("/abort", b""), ("/abort-midway", b"a part")])
def test_abort_of_one_stream(server, path, body):
    """RST_STREAM ends it; the connection and its other streams go on."""
    with Client(server) as client:
        stream, got, code = client.begin(path), b"", None
        client.flush()
        while code is None:
            for event in client.h2.receive_data(client.sock.recv(65536)):
                if isinstance(event, h2_events.DataReceived):
                    got += event.data
                elif isinstance(event, h2_events.StreamReset):
                    assert event.stream_id == stream
                    code = event.error_code
                assert not isinstance(event, h2_events.StreamEnded)
        assert (code, got) == (8, body)  # CANCEL
        assert json.loads(client.request("/"))["requests"] == 2


def test_close_after_response(server):
    """GOAWAY comes behind the responses of all streams that have come, and then the end."""
    server.mark()
    with Client(server) as client:
        streams = [client.begin("/close"), client.begin("/")]
        client.flush()
        ended, goaway = set(), None
        while data := client.sock.recv(65536):
            for event in client.h2.receive_data(data):
                if isinstance(event, h2_events.StreamEnded):
                    assert goaway is None
                    ended.add(event.stream_id)
                elif isinstance(event, h2_events.ConnectionTerminated):
                    goaway = event
        assert ended == set(streams)
        assert (goaway.error_code, goaway.last_stream_id) == (0, max(streams))
    server.wait_sequences("NAC")
    assert server.closed()[0]["why"] == "RESPONSE_COMPLETE"


def test_events(server):
    """Server-Sent Events come over HTTP/2, and end as they should."""
    curl = shutil.which("curl") or pytest.skip("needs curl: apt install curl")
    host, port = server.address
    url = f"https://{host}:{port}/events?n=3"
    done = subprocess.run(
        [curl, "-sSfk", "--http2", "-w", "%{http_version} %{content_type}", url],
        capture_output=True,
        timeout=PATIENCE,
        check=True,
        text=True,
    )
    assert done.stdout.count("data:") == 3
    assert done.stdout.endswith("2 text/event-stream") or "2 text/event-stream" in done.stdout
