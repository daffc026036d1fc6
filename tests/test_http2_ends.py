"""HTTP/2 at its ends: resets at each moment, floods, GOAWAY, and whose doing an end was."""

from __future__ import annotations

import contextlib
import json
import select

import pytest
from multiplexing import Client, events, h2_connection, h2_settings, needs_pump, recorded
from servers import PATIENCE, wait_for

pytestmark = pytest.mark.slow

OPTIONS = ("--http-protocols", "h2,h1")
CANCEL = 8
WINDOW_UPDATE = b"\0\0\x04\x08\0" + bytes(4) + b"\0\0\0\1"
PING = b"\0\0\x08\x06\0\0\0\0\0abcdefgh"


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def name(request):
    """The workers that speak HTTP/2."""
    return request.param


@pytest.fixture(scope="module")
def server(run_server, name):
    with run_server(name, "tls", *OPTIONS, app="streams:app") as server:
        yield server


class Log:
    """What a server has written and recorded since this was made."""

    def __init__(self, server):
        self.server = server
        self.begins = server.log.stat().st_size
        self.before = len(server.events())
        server.mark()

    def wait_for(self, **wanted):
        return wait_for(lambda: recorded(self.server, self.before, **wanted), str(wanted))

    def has(self, **wanted):
        return recorded(self.server, self.before, **wanted) is not None

    @property
    def text(self):
        return self.server.log.read_bytes()[self.begins :].decode()


@pytest.fixture
def log(server):
    return Log(server)


def goaway(code):
    """Return the frame, of a client that has seen no stream of the server's."""
    return b"\0\0\x08\x07" + bytes(5 + 4) + code.to_bytes(4)


def reset(client, stream):
    client.h2.reset_stream(stream, error_code=CANCEL)
    client.flush()


@needs_pump
@pytest.mark.parametrize("sent", [b"", b"x" * 1000])
def test_reset_amid_an_upload(server, log, sent):
    """The view that reads hears what it hears on HTTP/1, and no traceback says so."""
    with Client(server) as client:
        stream = client.begin("/read-body", end=False)
        client.h2.send_data(stream, sent)
        client.flush()
        log.wait_for(began="read-body")
        reset(client, stream)
        found = log.wait_for(stopped="read-body")
        assert (found["error"], found["again"]) == ("ClientDisconnected", "ClientDisconnected")
        log.wait_for(told=True)
        assert json.loads(client.request("/"))["requests"] == 2
    assert "Traceback" not in log.text


@needs_pump
def test_a_body_past_its_deadline(server, log):
    """The view hears of that, too; the connection goes on, and does not end for it."""
    with Client(server) as client:
        client.begin("/read-body?read=0.1", end=False)
        client.flush()
        found = log.wait_for(stopped="read-body")
        assert (found["error"], found["again"]) == ("ReadDeadlineError", "ReadDeadlineError")
        assert json.loads(client.request("/"))["requests"] == 2
    wait_for(server.closed, "the end")
    assert server.closed()[0]["why"] == "PEER_CLOSED"
    assert "Traceback" not in log.text


@needs_pump
def test_reset_with_its_window_used_up(server, log):
    """Who waits to send sees it: the view is stopped, and its callback is called."""
    with Client(server) as client:
        stream, got = client.begin("/endless"), 0
        client.flush()
        while got < client.h2.remote_settings.initial_window_size:
            data = client.sock.recv(65536)
            got += sum(
                len(each.data) for each in events(client.h2.receive_data(data), "DataReceived")
            )
        reset(client, stream)
        log.wait_for(stopped="endless")
        log.wait_for(told=True)
        client.h2.increment_flow_control_window(1 << 20)
        assert json.loads(client.request("/"))["requests"] == 2
    assert "Traceback" not in log.text


@needs_pump
def test_reset_before_its_turn(server, log):
    """A view that has not been called is not called; nobody else is told, and all is served."""
    with Client(server) as client:
        first = client.begin("/ask")
        client.flush()
        log.wait_for(began="ask")
        second, third = client.begin("/until"), client.begin("/")
        reset(client, second)
        client.sock.sendall(PING)
        wait_for(client.has_pong, "the answer, which the view's asking has sent")
        assert not log.has(stopped="ask")
        reset(client, first)
        assert json.loads(client.answers(third)[0])["requests"] == 2
    assert not log.has(began="until")


@needs_pump
@pytest.mark.parametrize("while_asked", [False, True])
def test_a_flood_of_resets(server, log, while_asked):
    """The connection is ended (CVE-2023-44487), whoever reads; others are served."""
    with Client(server) as client:
        if while_asked:
            client.begin("/ask")
            client.flush()
            log.wait_for(began="ask")
        with contextlib.suppress(OSError, h2_connection.ProtocolError):
            for _ in range(300):
                reset(client, client.begin("/"))
        if while_asked:
            log.wait_for(stopped="ask")
            log.wait_for(told=True)
        with contextlib.suppress(OSError):
            client.drain()
    wait_for(server.closed, "the end")
    assert server.closed()[0]["why"] == "HTTP2_ERROR"
    assert "Traceback" not in log.text
    with Client(server) as client:
        assert json.loads(client.request("/"))["requests"] == 1


@needs_pump
def test_asking_after_an_abort(server, log):
    """The view still runs: the connection is not IDLE, whatever frames come."""
    with Client(server) as client:
        client.begin("/abort?ask=1")
        client.flush()
        log.wait_for(aborted=True)
        client.sock.sendall(PING)
        wait_for(client.has_pong, "the answer, which the view's asking has sent")
        assert server.sequences() == ["NA"]
        with Client(server) as other:
            other.request("/go-on")
        client.request("/")
    server.wait_sequences("NAIAIC", "NAIC")
    assert not log.has(told=True)  # of an end that is the application's own


@needs_pump
def test_a_reset_that_is_known(server, log):
    """Who asks to be told from then on is told at once; nobody else would say it."""
    with Client(server) as client:
        stream = client.begin("/ask?after=1")
        client.flush()
        log.wait_for(began="ask")
        reset(client, stream)
        log.wait_for(waited=True)
        log.wait_for(told_after=True)


@needs_pump
def test_a_reset_and_a_request_at_once(server, log):
    """The request that was reset before its turn is dropped, and the other is answered."""
    with Client(server) as client:
        asking = client.begin("/ask")
        client.flush()
        log.wait_for(began="ask")
        waiting = client.begin("/")
        client.flush()
        client.sock.sendall(PING)
        wait_for(client.has_pong, "the answer, which the view's asking has sent")
        client.h2.reset_stream(waiting)
        wanted = client.begin("/")
        reset(client, asking)
        client.sock.settimeout(PATIENCE)
        assert json.loads(client.answers(wanted)[0])["requests"] == 2


def test_a_view_that_exits(server, log):
    """It costs its own stream, and neither the connection nor the worker."""
    with Client(server) as client:
        streams = client.begin("/exit"), client.begin("/")
        client.flush()
        failed, served = client.answers(*streams)
        assert b"SystemExit" in failed
        assert json.loads(served)["requests"] == 2
    server.wait_sequences("NAIC")


def test_the_last_response_is_whole(server, log):
    """Frames that nobody has read do not make the close a reset, which would take it along."""
    size = 1_000_000
    with Client(server) as client:
        client.h2.update_settings({h2_settings.SettingCodes.INITIAL_WINDOW_SIZE: 2 * size})
        client.h2.increment_flow_control_window(2 * size)
        client.begin(f"/close-big?size={size}")
        client.flush()
        client.sock.sendall(WINDOW_UPDATE * 20_000)
        wait_for(lambda: "GET /close-big" in log.text, "the response, which nobody reads yet")
        poller = select.poll()
        poller.register(client.sock, 0)  # for errors alone
        assert poller.poll(200) == []
        found = client.h2.receive_data(client.drain())
    assert sum(len(each.data) for each in events(found, "DataReceived")) == size
    assert len(events(found, "StreamEnded")) == len(events(found, "ConnectionTerminated")) == 1


@pytest.mark.parametrize("code", [0, 2])
@pytest.mark.parametrize("path", ["/", "/slow?seconds=0.2"])
def test_goaway_of_the_client(server, log, path, code):
    """It is the client who ends the connection; with no error, when its streams are answered."""
    with Client(server) as client:
        stream = client.begin(path)
        client.flush()
        if path == "/":
            client.answers(stream)
        client.sock.sendall(goaway(code))
        with contextlib.suppress(OSError):
            client.drain()
    wait_for(server.closed, "the end")
    assert server.closed()[0]["why"] == "PEER_CLOSED"
    assert "Traceback" not in log.text


def test_a_stop_amid_a_stream(run_server, name):
    """It is answered, and the stop is why the connection ends."""
    with run_server(name, "tls", *OPTIONS, app="streams:app") as server:
        server.mark()
        with Client(server) as client:
            client.begin("/slow?seconds=1")
            client.flush()
            wait_for(lambda: server.sequences()[-1:] == ["NA"], "the view")
            server.stop()
            (event,) = events(client.h2.receive_data(client.drain()), "StreamEnded")
            assert event.stream_id == 1
        assert server.closed()[-1]["why"] == "STOPPED"


@pytest.fixture(scope="module")
def cleartext(run_server, name):
    """One that speaks HTTP/2 without TLS, by prior knowledge or where a request asks for it."""
    pytest.importorskip("gunicorn.http2.negotiation", reason="gunicorn before 26.2 has no h2c")
    options = (*OPTIONS, "--http2-cleartext", "both")
    with run_server(name, "tcp", *options, app="streams:app") as server:
        wait_for(server.closed, "the end of the connection that asked whether it runs")
        yield server


@needs_pump
def test_reset_past_a_deadline(cleartext):
    """A deadline is for what the view reads, not for looking whether its client is there."""
    log = Log(cleartext)
    with Client(cleartext) as client:
        stream = client.begin("/ask?read=0")
        client.flush()
        log.wait_for(began="ask")
        reset(client, stream)
        log.wait_for(stopped="ask")
        log.wait_for(told=True)
        assert json.loads(client.request("/"))["requests"] == 2


@needs_pump
def test_a_deadline_in_the_clear(cleartext):
    """It holds on a plain socket, too, which gunicorn gives a timeout."""
    log = Log(cleartext)
    with Client(cleartext) as client:
        client.begin("/read-body?read=0.1", end=False)
        client.flush()
        assert log.wait_for(stopped="read-body")["error"] == "ReadDeadlineError"


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "


def test_the_request_that_upgrades(cleartext):
    """It is the first stream, with all that a stream has, and may be the last one."""
    cleartext.mark()
    h2 = h2_connection.H2Connection()
    with cleartext.raw() as sock:
        settings = h2.initiate_upgrade_connection()
        head = b"GET /close HTTP/1.1\r\nHost: a\r\n" + UPGRADE + settings + b"\r\n\r\n"
        sock.sendall(head)
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        sock.sendall(h2.data_to_send())
        data = data.split(b"\r\n\r\n", maxsplit=1)[1]
        while more := sock.recv(65536):
            data += more
    found = h2.receive_data(data)
    assert [each.stream_id for each in events(found, "StreamEnded")] == [1]
    assert [each.last_stream_id for each in events(found, "ConnectionTerminated")] == [1]
    wait_for(cleartext.closed, "the end")
    assert cleartext.sequences() == ["NAC"]
    assert cleartext.closed()[0]["why"] == "RESPONSE_COMPLETE"
