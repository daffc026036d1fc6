"""The head of a response goes out with the first bytes of its body, and waits for no other call."""

from __future__ import annotations

import os
import socket
import tempfile
import weakref
from dataclasses import dataclass, field

import pytest

wsgi = pytest.importorskip("gunicorn.http.wsgi")

from gunicorn.config import Config

from flask_rawsocket.workers._response import RECORD, Response, Wire


class RecordingSocket:
    """Keeps what is sent, one entry for each call."""

    def __init__(self):
        self.sent = []
        self.flags = []

    def sendall(self, data, flags=0):
        self.sent.append(bytes(data))
        self.flags.append(flags)

    def sendfile(self, file, offset=0, count=None):
        self.sent.append(os.pread(file.fileno(), count, offset))
        self.flags.append("file")
        return len(self.sent[-1])


@dataclass
class Request:
    """What a response asks its request for."""

    method: str = "GET"
    version: tuple[int, int] = (1, 1)
    headers: list = field(default_factory=list)

    def should_close(self):
        return False


def respond(status="200 OK", headers=(), *, cls=Response, **request):
    """Begin a response on a socket that records."""
    sock = RecordingSocket()
    response = cls(Request(**request), sock, Config())
    response.start_response(status, list(headers))
    return sock, response


def parts(sent):
    """Split what was sent into the head, without its date, and the rest."""
    head, _, rest = b"".join(sent).partition(b"\r\n\r\n")
    return [line for line in head.split(b"\r\n") if not line.startswith(b"Date:")], rest


LENGTH = ("Content-Length", "5")
CASES = {
    "length": ({"headers": [LENGTH]}, [b"hello"]),
    "two parts": ({"headers": [LENGTH]}, [b"he", b"llo"]),
    "too much": ({"headers": [LENGTH]}, [b"hello, world"]),
    "chunked": ({}, [b"hello", b"world"]),
    "chunked and empty": ({}, []),
    "empty first": ({"headers": [LENGTH]}, [b"", b"hello"]),
    "empty first, chunked": ({}, [b"", b"hello"]),
    "1.0": ({"version": (1, 0)}, [b"hello"]),
    "HEAD": ({"headers": [LENGTH], "method": "HEAD"}, []),
    "204": ({"status": "204 No Content"}, []),
    "304": ({"status": "304 Not Modified"}, []),
    "large": ({"headers": [("Content-Length", "100000")]}, [b"x" * 100_000]),
}


@pytest.mark.parametrize(("how", "body"), CASES.values(), ids=CASES)
def test_the_bytes_are_gunicorns(how, body):
    """Whatever the response, what is on the wire is what gunicorn writes."""
    found = []
    for cls in (wsgi.Response, Response):
        sock, response = respond(cls=cls, **how)
        for data in body:
            response.write(data)
        response.close()
        found.append(parts(sock.sent))
        assert response.headers_sent
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("how", "rest"),
    [({"headers": [LENGTH]}, b"hello"), ({}, b"5\r\nhello\r\n"), ({"version": (1, 0)}, b"hello")],
)
def test_head_and_first_part_are_one(how, rest):
    """They are sent by one call, and what comes later by itself."""
    sock, response = respond(**how)
    assert not sock.sent
    response.write(b"hello")
    assert len(sock.sent) == 1
    assert sock.sent[0].startswith(b"HTTP/1.")
    assert sock.sent[0].endswith(b"\r\n\r\n" + rest)


@pytest.mark.parametrize("headers", [[LENGTH], []], ids=["length", "chunked"])
def test_an_empty_part_flushes_the_head(headers):
    """An application that yields b"" first has its head sent at once, and by itself."""
    sock, response = respond(headers=headers)
    response.write(b"")
    (head,) = sock.sent
    assert head.endswith(b"\r\n\r\n")
    response.write(b"hello")
    assert len(sock.sent) == 2


def test_the_end_of_a_chunked_body_without_parts():
    """It goes out with the head."""
    sock, response = respond()
    response.close()
    (all_of_it,) = sock.sent
    assert all_of_it.endswith(b"\r\n\r\n0\r\n\r\n")


def test_a_large_part_is_not_copied():
    """Of megabytes only what fills a TLS record is joined with the head."""
    body = bytes(3 * 1024 * 1024)
    sock, response = respond(headers=[("Content-Length", str(len(body)))])
    response.write(body)
    assert [len(sock.sent[0]), len(sock.sent)] == [RECORD, 2]
    assert parts(sock.sent)[1] == body


def test_a_head_longer_than_a_record():
    """It is sent whole, and the body behind it."""
    sock, response = respond(headers=[("X-Long", "x" * 20_000), LENGTH])
    response.write(b"hello")
    assert parts(sock.sent)[1] == b"hello"


@pytest.mark.parametrize("count", [0, 5])
def test_a_file(count):
    """The kernel is told that the file follows the head; where there is none, it is not."""
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * count)
        file.seek(0)
        sock, response = respond(headers=[("Content-Length", str(count))])
        response.write_file(wsgi.FileWrapper(file))
        response.close()
    assert parts(sock.sent)[1] == b"x" * count
    assert sock.flags == ([getattr(socket, "MSG_MORE", 0), "file"] if count else [0])


@pytest.mark.parametrize("headers", [[LENGTH], []], ids=["length", "chunked"])
def test_a_first_part_that_is_no_bytes(headers):
    """Nothing has been sent, so it is not too late for a response that says so."""
    sock, response = respond(headers=headers)
    with pytest.raises(TypeError):
        response.write("hello")
    assert not sock.sent
    assert not response.headers_sent
    response.start_response("500 Internal Server Error", [], (TypeError, TypeError(), None))
    response.write(b"oops")
    assert sock.sent[0].startswith(b"HTTP/1.1 500 ")


def test_a_later_part_that_is_no_bytes():
    """The head has been sent, and stays so."""
    sock, response = respond()
    response.write(b"hello")
    with pytest.raises(TypeError):
        response.write("world")
    assert response.headers_sent
    assert len(sock.sent) == 1


def test_a_send_that_fails():
    """The head may have gone out: nothing else is answered."""

    class Broken(RecordingSocket):
        def sendall(self, *_):
            raise BrokenPipeError

    response = Response(Request(), Broken(), Config())
    response.start_response("200 OK", [])
    with pytest.raises(BrokenPipeError):
        response.write(b"hello")
    assert response.headers_sent


def test_a_head_that_is_said_to_be_sent():
    """As after a hijack: nothing of it is sent."""
    sock, response = respond()
    response.headers_sent, response.chunked = True, False
    response.close()
    assert not sock.sent


def test_a_socket_that_is_replaced():
    """As after a hijack: the connection's own gets nothing more."""
    sock, response = respond()
    response.sock, response.headers_sent = RecordingSocket(), True
    response.write(b"hello")
    assert not sock.sent
    assert response.sock.sent == [b"5\r\nhello\r\n"]


def test_no_cycle():
    """A response is gone with its last reference: there are thousands a second."""
    sock, response = respond()
    response.write(b"hello")
    gone = weakref.ref(response)
    del response
    assert gone() is None
    assert sock.sent


def test_wire_holds_the_first_bytes():
    """They wait for the next ones, or for a flush."""
    wire = Wire(sock := RecordingSocket())
    wire.sendall(b"head")
    assert (wire.head, sock.sent) == (b"head", [])
    wire.flush()
    wire.flush()
    wire.sendall(b"body")
    assert sock.sent == [b"head", b"body"]


PAGES = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    if environ["PATH_INFO"] == "/flushed":
        return iter([b"", b"hello"])
    if environ["PATH_INFO"] == "/text":
        return ["hello"]
    return [b"hello"]
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gthread", "sync"])
def test_on_the_wire(run_server, tmp_path, name, transport):
    """A client that reads once has all of a small response; one that fails is answered with 500."""
    (tmp_path / "pages.py").write_text(PAGES)
    (tmp_path / "five").write_text("hello")
    options = ("--pythonpath", str(tmp_path))
    with run_server(name, transport, *options, app="pages:app") as server:
        with server.connect() as client:
            client.get("/")
            assert client.sock.recv(65536).endswith(b"\r\n\r\nhello")
        for path in ("/flushed", "/file"):
            with server.connect() as client:
                assert client.request(path).body == b"hello"
        with server.connect() as client:
            assert client.request("/text").status == 500
