"""A request with an empty body that was made at once is the one that gunicorn makes."""

from __future__ import annotations

import socket

import pytest

pytest.importorskip("gunicorn.http.message")

from gunicorn.config import Config
from gunicorn.http.parser import RequestParser

from flask_rawsocket.workers._parser import Parser

PEER = ("127.0.0.1", 50000)


@pytest.fixture
def connect():
    """A function that gives a client's end, and the parser of the server's."""
    socks = []

    def pair(cls=Parser):
        client, server = socket.socketpair()
        socks.extend((client, server))
        server.settimeout(20)
        return client, cls(Config(), server, PEER)

    yield pair
    for each in socks:
        each.close()


def facts(request):
    """Whatever a request has, but for what is the connection's."""
    own = {
        name: value
        for name, value in vars(request).items()
        if name not in {"unreader", "body", "cfg"}
    }
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
    """Ours are the requests that gunicorn makes of the same bytes."""
    found = []
    for cls in (RequestParser, Parser):
        client, requests = connect(cls)
        client.sendall(head * 3)
        one = [facts(request) for _, request in zip(range(3), requests, strict=False)]
        one = [each | {"req_number": None} for each in one]
        found.append(one)
    assert found[0] == found[1]


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
