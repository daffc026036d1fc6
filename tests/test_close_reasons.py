"""Each close reason, as a real peer or application brings it about on a real server."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path

import pytest
from servers import client_context, wait_for

from flask_rawsocket import CloseReason

pytestmark = pytest.mark.slow

ENV = {
    "CONTRACT_RAWSOCKET_HEADER_TIMEOUT": "0.7",
    "CONTRACT_RAWSOCKET_MIN_BODY_RATE": "1000",
    "CONTRACT_RAWSOCKET_MIN_RESPONSE_RATE": "1000000",
    "CONTRACT_RAWSOCKET_RATE_GRACE": "0.5",
    "CONTRACT_RAWSOCKET_STOP_TIMEOUT": "0.5",
    "WAITRESS": '{"channel_timeout": 1, "cleanup_interval": 1, "max_request_header_size": 20000}',
}


@pytest.fixture(scope="module")
def reason_servers(run_server):
    """The servers of this file, started when first asked for."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(name, transport):
            if (name, transport) not in started:
                options = ["--keep-alive", "1"] if name != "werkzeug" else []
                started[name, transport] = stack.enter_context(
                    run_server(name, transport, *options, app="reasons:app", env=ENV)
                )
            started[name, transport].mark()
            return started[name, transport]

        yield get


@pytest.fixture(params=["werkzeug", "sync", "gthread", "waitress"])
def each(request, reason_servers):
    """Each of our servers."""
    return reason_servers(request.param, "tcp")


@pytest.fixture(params=["werkzeug", "sync", "gthread"])
def each_tls(request, reason_servers):
    """Each of our servers, over TLS."""
    return reason_servers(request.param, "tls")


@pytest.fixture
def worker(reason_servers):
    """The thread worker."""
    return reason_servers("gthread", "tcp")


def is_reason(server, name, group):
    """Wait for the one end, and check its reason and the group of that."""
    (event,) = wait_for(server.closed, "CLOSED")
    assert (event["why"], event["reason"]) == (name, group), server.tail()
    assert CloseReason[name].group is CloseReason[group]


def test_peer_closed(each):
    """PEER_CLOSED: a client that leaves before it has said anything."""
    each.raw().close()
    is_reason(each, "PEER_CLOSED", "CLIENT")


@pytest.mark.parametrize("sent", [b"", b"GET / HT"], ids=["silent", "in a head"])
def test_peer_reset(each, sent):
    """PEER_RESET: a client that resets, also where a read has taken the reset from the kernel."""
    with each.connect() as client:
        if sent:
            client.send(sent)
            wait_for(lambda: each.sequences() == ["NA"], "ACTIVE")
        else:
            wait_for(lambda: each.sequences() == ["N"], "NEW")
        client.reset()
        is_reason(each, "PEER_RESET", "CLIENT")


def test_peer_reset_in_a_response(each):
    """PEER_RESET: a write has found it."""
    with each.connect() as client:
        client.get("/reason-endless")
        client.sock.recv(1000)
        client.reset()
        is_reason(each, "PEER_RESET", "CLIENT")


def test_peer_lost(each):
    """PEER_LOST: the kernel has given up a peer that takes nothing more."""
    with each.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.get("/reason-lost")
        is_reason(each, "PEER_LOST", "CLIENT")


def test_response_complete(each):
    """RESPONSE_COMPLETE: the client wanted one response only."""
    with each.connect() as client:
        assert client.request("/", "Connection: close").status == 200
    is_reason(each, "RESPONSE_COMPLETE", "AFTER_RESPONSE")


def test_short_response(each):
    """SHORT_RESPONSE: the head said more."""
    with each.connect() as client:
        client.get("/short?count=10")
        assert client.rest().endswith(b"x" * 10)
    is_reason(each, "SHORT_RESPONSE", "AFTER_RESPONSE")


def test_keepalive_over(worker):
    """KEEPALIVE_OVER: no second request came."""
    with worker.connect() as client:
        assert client.request().status == 200
        assert client.rest() == b""
        is_reason(worker, "KEEPALIVE_OVER", "KEEPALIVE_TIMEOUT")


def test_no_request(each):
    """NO_REQUEST: no first one came."""
    with each.connect() as client:
        assert client.rest() == b""
        is_reason(each, "NO_REQUEST", "KEEPALIVE_TIMEOUT")


def test_bad_request(each):
    """BAD_REQUEST: it cannot be parsed."""
    with each.connect() as client:
        client.send(b"\x00\x01garbage\r\n\r\n")
        client.rest()
    is_reason(each, "BAD_REQUEST", "ERROR")


def test_head_too_large(each):
    """HEAD_TOO_LARGE: a request line, and as many headers as no server takes."""
    with each.connect() as client, contextlib.suppress(ConnectionError):
        client.send(b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        client.rest()
    is_reason(each, "HEAD_TOO_LARGE", "ERROR")


def test_head_too_slow(each):
    """HEAD_TOO_SLOW: it has begun, and does not end."""
    with each.connect() as client:
        client.send(b"GET / HTTP/1.1\r\n")
        client.rest()
        is_reason(each, "HEAD_TOO_SLOW", "ERROR")


def test_body_too_slow(each):
    """BODY_TOO_SLOW: be it the server that reads it, or the view."""
    with each.connect() as client:
        client.get("/body", "Content-Length: 10000", method="POST", body=b"abc")
        assert b" 408 " in client.rest()
        is_reason(each, "BODY_TOO_SLOW", "ERROR")


def test_read_deadline(each):
    """READ_DEADLINE: the one that a view has set."""
    size = 400_000  # more than the thread worker reads ahead
    with each.connect() as client:
        headers = f"Content-Length: {size}", "X-Read-Deadline: 0.2"
        client.get("/body", *headers, method="POST", body=b"x" * 300_000)
        assert b" 408 " in client.rest()
        is_reason(each, "READ_DEADLINE", "ERROR")


def test_not_tls(each_tls):
    """NOT_TLS: a request in the clear."""
    with each_tls.raw() as sock, contextlib.suppress(ConnectionError):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while sock.recv(4096):
            pass
    is_reason(each_tls, "NOT_TLS", "ERROR")


def test_handshake_failed(each_tls):
    """HANDSHAKE_FAILED: a client that knows no cipher which the server has."""
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("RSA+AES")
    with each_tls.raw() as sock, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(sock)
    is_reason(each_tls, "HANDSHAKE_FAILED", "ERROR")


def test_handshake_too_slow(each_tls):
    """HANDSHAKE_TOO_SLOW: it has begun, and does not end."""
    with each_tls.raw() as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        with contextlib.suppress(ConnectionError):
            while sock.recv(4096):
                pass
        is_reason(each_tls, "HANDSHAKE_TOO_SLOW", "ERROR")


def test_view_failed(each):
    """VIEW_FAILED: an application that raises, and has no Flask to answer for it."""
    with each.connect() as client:
        assert client.request("/fail-early").status == 500
    is_reason(each, "VIEW_FAILED", "ERROR")


def test_response_broken(each):
    """RESPONSE_BROKEN: a view that fails in the middle of its response."""
    with each.connect() as client:
        client.get("/fail-midway")
        assert b"0\r\n\r\n" not in client.rest()
    is_reason(each, "RESPONSE_BROKEN", "ERROR")


def test_write_deadline(each):
    """WRITE_DEADLINE: the one that a view has set."""
    with each.connect() as client:
        client.get("/reason-write-deadline")
        is_reason(each, "WRITE_DEADLINE", "ERROR")


@pytest.mark.parametrize("how", ["made while it is sent", "complete"])
def test_slow_reader(each, how):
    """SLOW_READER: whoever waits for it, a thread or the poller."""
    with each.connect() as client:
        path = "/reason-endless" if how != "complete" else "/stream?n=1&size=20000000"
        client.get(path)
        is_reason(each, "SLOW_READER", "ERROR")


def test_stopped(run_server):
    """STOPPED: one that was hijacked, and whose owner does not end it."""
    with run_server("gthread", "tcp", app="reasons:app", env=ENV) as server:
        server.mark()
        with server.hand_over("/reason-keep"):
            server.stop()
            is_reason(server, "STOPPED", "SHUTDOWN")


@pytest.mark.parametrize("name", ["sync", "gthread"])
def test_max_requests(run_server, name):
    """MAX_REQUESTS: a worker that is replaced by another."""
    options = "--max-requests", "4"
    with run_server(name, "tcp", *options, app="reasons:app", env=ENV) as server:
        server.mark()
        with server.hand_over("/reason-keep") as kept:
            keys = {each["key"] for each in server.events() if each.get("new") == "HIJACKED"}
            assert kept.key in keys
            while not kept_events(server, kept):
                with contextlib.suppress(OSError, EOFError), server.connect() as client:
                    client.request("/", "Connection: close")
            (event,) = kept_events(server, kept)
            assert (event["why"], event["reason"]) == ("MAX_REQUESTS", "SHUTDOWN")


def kept_events(server, kept):
    return [each for each in server.closed() if each["key"] == kept.key]


def test_app_closed(each):
    """APP_CLOSED: its owner is done with it."""
    with each.connect() as client:
        client.get("/reason-close-it")
        client.rest()
    is_reason(each, "APP_CLOSED", "APP")


def test_app_aborted(each):
    """APP_ABORTED: by its view."""
    with each.connect() as client:
        client.get("/reason-abort-it")
        client.at_eof()
    is_reason(each, "APP_ABORTED", "APP")


def test_app_forgot(each):
    """APP_FORGOT: its owner has not closed it."""
    with each.connect() as client:
        client.get("/reason-forget")
        client.rest()
    is_reason(each, "APP_FORGOT", "APP")


HOOK = """
def pre_request(worker, req):
    if req.path == "/reason-hook":
        raise ValueError("a hook of the server's has failed")
"""


@pytest.mark.parametrize("name", ["sync", "gthread"])
def test_server_failed(run_server, tmp_path, name):
    """SERVER_FAILED: a hook of gunicorn's own that raises, before there is a view to fail."""
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(HOOK)
    with run_server(name, "tcp", "-c", str(config), app="reasons:app") as server:
        server.mark()
        with server.connect() as client:
            assert client.request("/reason-hook").status == 500
            client.rest()
        is_reason(server, "SERVER_FAILED", "ERROR")


ELSEWHERE = {
    "BAD_PROXY_HEADER": "test_proxy_protocol.py",
    "HTTP2_ERROR": "test_http2.py",
    "TLS_NOT_SET_UP": "workers/test_tls_context.py",
}
"""The reasons whose tests are with others that have the same fixtures."""


def test_every_reason_has_its_test():
    """Each reason is the subject of a test of this file, or is asserted in the one named above."""
    names = {name.removeprefix("test_").upper() for name in globals() if name.startswith("test_")}
    reasons = {each.name for each in CloseReason if not each.is_group}
    assert reasons - names == set(ELSEWHERE)
    for reason, file in ELSEWHERE.items():
        assert f'"{reason}"' in (Path(__file__).parent / file).read_text()
