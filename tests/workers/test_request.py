"""What is not parsed again is what gunicorn would make of it once more."""

from __future__ import annotations

import socket

import pytest

message = pytest.importorskip("gunicorn.http.message")

from gunicorn.config import Config
from gunicorn.http.errors import InvalidRequestMethod, ParseException
from gunicorn.http.parser import RequestParser

from flask_rawsocket.workers import _request
from flask_rawsocket.workers._parser import Parser
from flask_rawsocket.workers._request import forget
from flask_rawsocket.workers._settings import keep_plain

PEER = ("127.0.0.1", 50000)


@pytest.fixture(autouse=True)
def parsed(monkeypatch):
    """What gunicorn parses, by its first word; nothing is remembered at first."""
    forget()
    found: list[str] = []

    def noting(name):
        real = getattr(message.Request, name)

        def parse(self, data, *args, **kwargs):
            found.append(data.split(maxsplit=1)[0].decode())
            return real(self, data, *args, **kwargs)

        monkeypatch.setattr(message.Request, name, parse)

    noting("parse_request_line")
    noting("parse_headers")
    yield found
    forget()


@pytest.fixture
def cfg():
    """A configuration as a worker has it."""
    cfg = Config()
    keep_plain(cfg, forget)
    return cfg


@pytest.fixture
def connect(cfg):
    """A function that gives a client's end, and the parser of the server's."""
    socks = []

    def pair(cls=Parser):
        client, server = socket.socketpair()
        socks.extend((client, server))
        server.settimeout(20)
        return client, cls(cfg, server, PEER)

    yield pair
    for each in socks:
        each.close()


def facts(request):
    """Whatever a request has, but for what is the connection's."""
    own = {name: value for name, value in vars(request).items() if name not in {"unreader", "body"}}
    return own | {"body": request.body.read()}


HEADS = {
    "bare": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no field": b"GET / HTTP/1.1\r\n\r\n",
    "1.0": b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    "query": b"GET /a%20b?c=d#e HTTP/1.1\r\nHost: x\r\n\r\n",
    "absolute": b"GET http://y/z HTTP/1.1\r\nHost: x\r\n\r\n",
    "many": b"GET /x HTTP/1.1\r\nHost: x\r\nAccept: a\r\nAccept: b\r\nX-Y: "
    + b"z" * 99
    + b"\r\n\r\n",
    "long": b"GET /x HTTP/1.1\r\nHost: x\r\nX-Y: " + b"z" * 4000 + b"\r\n\r\n",
    "scheme": b"GET /x HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n\r\n",
    "length": b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "length 0": b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "chunked": (
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    ),
    "trailer": (
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\n\r\n"
    ),
    "continue": (
        b"POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"
    ),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_three_times_the_same(connect, head):
    """What is remembered makes the request that gunicorn makes of the same bytes."""
    found = []
    for cls in (RequestParser, Parser):
        client, requests = connect(cls)
        client.sendall(head * 3)
        one = [facts(request) for _, request in zip(range(3), requests, strict=False)]
        one = [each | {"req_number": None} for each in one]
        found.append(one)
    assert found[0] == found[1]


def test_nothing_is_parsed_again(connect, parsed):
    """The second time neither the line nor the fields are; on another connection the fields are."""
    client, requests = connect()
    client.sendall(HEADS["bare"] * 2)
    next(requests)
    assert parsed == ["GET", "Host:"]
    next(requests)
    assert parsed == ["GET", "Host:"]
    client, requests = connect()
    client.sendall(HEADS["bare"])
    next(requests)
    assert parsed == ["GET", "Host:", "Host:"]


def test_what_is_not_the_same(connect, parsed):
    """Another byte, another method, another version: it is parsed."""
    client, requests = connect()
    for line in (b"GET / HTTP/1.1", b"PUT / HTTP/1.1", b"PUT / HTTP/1.0"):
        client.sendall(line + b"\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
        next(requests)
    client.sendall(b"PUT / HTTP/1.0\r\nHost: y\r\n\r\n")
    assert next(requests).headers == [("HOST", "y")]
    assert parsed == ["GET", "Host:", "PUT", "Host:", "PUT", "Host:", "Host:"]


def test_what_a_hook_changes_is_its_requests(connect):
    """The fields of the next request are the client's."""
    client, requests = connect()
    client.sendall(HEADS["bare"] * 3)
    next(requests).headers.append(("X-HOOK", "1"))
    next(requests).headers.clear()
    assert next(requests).headers == [("HOST", "x")]


def test_a_setting_is_obeyed(connect, cfg):
    """What was let through before is judged anew, on the same connection."""
    client, requests = connect()
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX_Y: 1\r\n\r\n"
    cfg.set("header_map", "dangerous")
    client.sendall(head)
    assert ("X_Y", "1") in next(requests).headers
    cfg.set("header_map", "drop")
    client.sendall(head)
    assert next(requests).headers == [("HOST", "x")]
    cfg.set("header_map", "refuse")
    client.sendall(head)
    with pytest.raises(ParseException):
        next(requests)


def test_a_setting_for_the_line_is_obeyed(connect, cfg):
    """A method that was unconventional, and allowed, is so no more."""
    client, requests = connect()
    cfg.set("permit_unconventional_http_method", "true")
    client.sendall(b"get / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    assert next(requests).method == "get"
    cfg.set("permit_unconventional_http_method", "false")
    with pytest.raises(InvalidRequestMethod):
        next(requests)


@pytest.mark.parametrize(
    "line", [b"GET /?secret HTTP/1.1", b"GET /" + b"x" * 200 + b" HTTP/1.1"], ids=["query", "long"]
)
def test_lines_that_are_not_kept(connect, line):
    """A query may hold a secret, and a long line is seldom the same."""
    client, requests = connect()
    client.sendall(line + b"\r\nHost: x\r\n\r\n")
    next(requests)
    assert not _request._known.lines


def test_lines_are_bounded(connect, monkeypatch):
    """A client that asks for ever other paths does not fill the memory."""
    monkeypatch.setattr(_request, "_MOST_LINES", 4)
    client, requests = connect()
    for number in range(10):
        client.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
        assert next(requests).path == f"/{number}"
        assert len(_request._known.lines) <= 4


def test_long_heads_are_not_kept(connect):
    """What a connection remembers while it is idle is bounded."""
    client, requests = connect()
    client.sendall(HEADS["long"])
    next(requests)
    assert not hasattr(requests.unreader, "parsed")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gthread", "sync"])
def test_served(run_server, name, transport):
    """Request after request is the client's own, on one connection and beside another."""
    with run_server(name, transport, app="framing:app") as server:
        for _ in range(2):
            with server.connect() as client:
                for text in ("hello", "hello", "you"):
                    client.get(
                        "/body", f"Content-Length: {len(text)}", method="POST", body=text.encode()
                    )
                    response = client.response()
                    assert response.status == 200
                    assert str(len(text)).encode() in response.body
                    if name == "sync":
                        break
