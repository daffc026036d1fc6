"""Behind a request without a body nothing is read; behind any other what gunicorn reads."""

from __future__ import annotations

import inspect
import socket
import time

import pytest

parser = pytest.importorskip("gunicorn.http.parser")

from gunicorn.config import Config

from flask_rawsocket.workers._parser import Parser
from flask_rawsocket.workers._request import Request

PEER = ("127.0.0.1", 50000)


@pytest.fixture
def ends():
    """A client's end and a server's."""
    client, server = socket.socketpair()
    with client, server:
        client.settimeout(20)
        server.settimeout(20)
        yield client, server


class WatchedSocket:
    """The server's end, which counts the reads and the changes of its timeout."""

    def __init__(self, sock):
        self.sock = sock
        self.calls = []

    def recv(self, *args):
        self.calls.append("recv")
        return self.sock.recv(*args)

    def gettimeout(self):
        return self.sock.gettimeout()

    def settimeout(self, seconds):
        self.calls.append("settimeout")
        self.sock.settimeout(seconds)


def finish(requests):
    """Finish a body as the thread worker does, with a deadline where this gunicorn has those."""
    if "deadline" in inspect.signature(parser.Parser.finish_body).parameters:
        return requests.finish_body(deadline=time.monotonic() + 20)
    requests.finish_body()
    return True


def test_without_a_body(ends):
    """The socket is left alone, and the next request is there."""
    client, server = ends
    watched = WatchedSocket(server)
    client.sendall(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    requests = Parser(Config(), watched, PEER)
    assert type(next(requests)) is Request
    watched.calls.clear()
    assert finish(requests)
    assert not watched.calls
    assert next(requests).path == "/2"
    assert not watched.calls


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"Content-Length: 5", b"hello"),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    ],
    ids=["length", "chunked"],
)
@pytest.mark.parametrize("read", [0, 2, 5])
def test_with_a_body(ends, header, body, read):
    """What the view has left of it is read and dropped, wherever it had come to."""
    client, server = ends
    head = b"POST /1 HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n"
    requests = Parser(Config(), server, PEER)
    client.sendall(head)
    request = next(requests)
    client.sendall(body + b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert request.body.read(read) == b"hello"[:read]
    assert finish(requests)
    assert next(requests).path == "/2"


def test_a_body_that_is_no_more(ends):
    """The end of the stream amid a body is not the end of the body."""
    client, server = ends
    client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe")
    client.shutdown(socket.SHUT_WR)
    requests = Parser(Config(), server, PEER)
    next(requests)
    finish(requests)
    with pytest.raises(StopIteration):
        next(requests)


def test_a_body_that_has_failed(ends):
    """Where gunicorn notes that (27 and newer), no request is looked for behind it."""
    client, server = ends
    client.sendall(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
    requests = Parser(Config(), server, PEER)
    body = next(requests).body
    if not hasattr(body, "failed"):
        pytest.skip("this gunicorn does not note it")
    body.failed = True
    assert not finish(requests)


def test_before_any_request(ends):
    """There is no body then."""
    _, server = ends
    assert finish(Parser(Config(), server, PEER))
