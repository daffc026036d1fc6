"""WebSockets: Flask-Sock applications as they are, beside those that take the connection over.

Not over TLS: simple-websocket reads in one thread and writes in another, with no lock between
them, and an SSL object does not take that.  Ours are tested over TLS in test_hijack.py.

What `WebSocket.ended_by_flask_sock` allows happens on Werkzeug's and gunicorn's own servers, too.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import pytest
from servers import wait_for

pytestmark = pytest.mark.slow

pytest.importorskip("flask_sock", reason="flask-sock is not installed: pip install flask-sock")
pytest.importorskip("wsproto", reason="wsproto is not installed: pip install wsproto")
gunicorn = pytest.importorskip("gunicorn", reason="gunicorn is not installed")

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NORMAL = (1000).to_bytes(2, "big")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
FLASK_SOCK = "/sock/echo"
OURS = ["/upgrade/echo", "/async/echo"]


class WebSocket:
    """A client with a framing of its own."""

    def __init__(self, client, path, first=b""):
        """Shake hands; `first` is sent in the same segment as the request."""
        self.client = client
        key = base64.b64encode(os.urandom(16))
        client.get(
            path,
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key.decode()}",
            body=first,
        )
        head, client.buffered = client._until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        assert b"sec-websocket-accept: " + accept.lower() in head.lower()

    def send(self, payload, opcode=TEXT):
        self.client.send(frame(payload, opcode))

    def receive(self):
        """Read a message, which may come in fragments: its opcode and its payload."""
        opcode, payload, final = self._frame()
        while not final:
            continuation, more, final = self._frame()
            assert continuation == 0
            payload += more
        return opcode, payload

    def _frame(self):
        first, size = self.client._exactly(2)
        if size > 125:
            size = int.from_bytes(self.client._exactly(2 if size == 126 else 8), "big")
        return first & 0x7F, self.client._exactly(size), first & 0x80

    def close(self):
        """Close from our side, and wait for the server's end."""
        self.send(NORMAL, CLOSE)
        assert self.receive() == (CLOSE, NORMAL)
        assert self.client.rest() == b""

    def ended_by_flask_sock(self):
        """Say that no more frames come from us, and tell whether what comes is a proper end.

        simple-websocket wakes the view before it answers a close frame, so the end of the view
        may overtake that answer, or prevent it.  Werkzeug answers what the view returns, be there
        a WebSocket or not, and reads to the client's end.  A server that closes before it has read
        our close frame resets the connection.
        """
        with contextlib.suppress(OSError):
            self.client.sock.shutdown(socket.SHUT_WR)
        try:
            rest = self.client.rest().removeprefix(b"\x88\x02" + NORMAL)
        except ConnectionResetError:
            return True
        return not rest or rest.startswith(b"HTTP/1.1 200 ")

    def answer_close(self):
        """Answer the server's close frame, which may not wait for that."""
        assert self.receive() == (CLOSE, NORMAL)
        with contextlib.suppress(OSError):
            self.send(NORMAL, CLOSE)

    def end(self, path):
        """Close from our side, and wait for the end, whose application this may be."""
        if path in OURS:
            self.close()
        else:
            self.send(NORMAL, CLOSE)
            assert self.ended_by_flask_sock()


def frame(payload, opcode=TEXT):
    """Give a frame as a client sends it: masked."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    mask = os.urandom(4)
    masked = bytes(byte ^ key for byte, key in zip(payload, cycle(mask), strict=False))
    return bytes([0x80 | opcode]) + length + mask + masked


@contextlib.contextmanager
def websocket(server, path, first=b""):
    with server.connect() as client:
        yield WebSocket(client, path, first)


def ask(server):
    """Give what the application says of itself, over a connection of its own."""
    with server.connect() as client:
        return client.request("/", "Connection: close").json


def alone(server):
    """Ask likewise; None while other connections are there, or are still counted."""
    answer = ask(server)
    return answer if answer["alive"] == 1 and answer["nr_conns"] in {None, 1} else None


@pytest.fixture(scope="module")
def _shared(run_server):
    with contextlib.ExitStack() as stack:
        started = {}

        def get(name, transport):
            if (name, transport) not in started:
                context = run_server(name, transport, app="sockets:app")
                started[name, transport] = stack.enter_context(context)
            return started[name, transport]

        yield get


@pytest.fixture(params=["tcp", "unix"])
def transport(request):
    return request.param


@pytest.fixture(params=["werkzeug", "sync", "gthread", "gevent"])
def server(request, transport, _shared):
    found = _shared(request.param, transport)
    found.mark()
    return found


@pytest.fixture
def gthread(transport, _shared):
    found = _shared("gthread", transport)
    found.mark()
    return found


@pytest.mark.parametrize("path", [FLASK_SOCK, *OURS])
def test_echo(server, path):
    """Text, binary, nothing, much, and a ping; closed from the client's side."""
    with websocket(server, path) as ws:
        for opcode, payload in (
            (TEXT, "héllo".encode()),
            (BINARY, bytes(range(256))),
            (TEXT, b""),
            (BINARY, bytes(300_000)),
        ):
            ws.send(payload, opcode)
            assert ws.receive() == (opcode, payload)
        ws.send(b"are you there", PING)
        assert ws.receive() == (PONG, b"are you there")
        ws.end(path)
    server.wait_sequences("NAC" if path == FLASK_SOCK else "NAHC")
    if server.name != "werkzeug":  # there Werkzeug answers, and a failing answer is an error
        assert server.closed()[0]["reason"] in {"APP", "CLIENT"}, server.tail()


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("path", [FLASK_SOCK, *OURS])
def test_1000_messages(server, path, opcode):
    """A thousand messages, all sent before the first echo is read, come back in order."""
    messages = [b"message %d" % number for number in range(1000)]
    with websocket(server, path) as ws:
        ws.client.send(b"".join(frame(each, opcode) for each in messages))
        for each in messages:
            assert ws.receive() == (opcode, each)
        ws.end(path)


def test_closed_by_the_server(server):
    """The server's close frame comes, ours is read, and the connection ends."""
    with websocket(server, "/sock/close") as ws:
        ws.send(b"last words")
        assert ws.receive() == (TEXT, b"last words")
        assert ws.receive() == (CLOSE, (4000).to_bytes(2, "big") + b"enough")
        ws.send((4000).to_bytes(2, "big"), CLOSE)
        assert ws.ended_by_flask_sock()
    server.wait_sequences("NAC")


def test_100_goodbyes(server):
    """A client that says goodbye is answered, and told nothing but 1000 (RFC 6455, 7.4).

    simple-websocket wakes the view before it answers, so the view's end and the server's FIN could
    come first; the client saw 1006 in a half of all closes.
    """
    if server.name == "werkzeug":
        pytest.skip("Werkzeug answers what the view returns, in HTTP")
    for _ in range(100):
        with websocket(server, FLASK_SOCK) as ws:
            ws.send(NORMAL, CLOSE)
            assert ws.receive() == (CLOSE, NORMAL)


@pytest.mark.parametrize("path", [FLASK_SOCK, *OURS])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_just_goes(server, path, how):
    """Without a close frame, by FIN or RST, the view or the handler ends as well."""
    with websocket(server, path) as ws:
        ws.send(b"hello")
        assert ws.receive() == (TEXT, b"hello")
        getattr(ws.client, how)()
    server.wait_sequences("NAC" if path == FLASK_SOCK else "NAHC")


def test_200_views_that_end_first(server):
    """Two threads of simple-websocket's and the server close one socket; the worker lives."""
    before = wait_for(lambda: alone(server), "those of earlier tests to be gone")

    def visit(number):
        with websocket(server, "/sock/end") as ws:
            ws.answer_close()
            if number % 2:
                assert ws.ended_by_flask_sock()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(visit, range(200)))

    def settled():
        now = alone(server)
        return now and now["descriptors"] <= before["descriptors"] and now

    assert wait_for(settled, "all to be closed")["pid"] == before["pid"]
    assert "Traceback" not in server.log.read_text()


def test_beside_each_other(server):
    """One application has both kinds, open at once."""
    with contextlib.ExitStack() as stack:
        # Flask-Sock's last: there is one at a time on the sync worker, whose view it holds.
        paths = [*OURS, *OURS, FLASK_SOCK]
        sockets = [stack.enter_context(websocket(server, path)) for path in paths]
        for opcode in (TEXT, BINARY, TEXT):
            for number, ws in enumerate(sockets):
                ws.send(b"for %d" % number, opcode)
            for number, ws in enumerate(sockets):
                assert ws.receive() == (opcode, b"for %d" % number)
        for ws, path in zip(sockets, paths, strict=True):
            ws.end(path)
    server.wait_sequences("NAC", *["NAHC"] * 4)


def end_twenty(server, path):
    """Have twenty WebSockets end, by either side."""
    for number in range(20):
        with websocket(server, path) as ws:
            if path == FLASK_SOCK:
                ws.send(b"%d" % number)
                assert ws.receive() == (TEXT, b"%d" % number)
                ws.send(NORMAL, CLOSE)
            else:
                ws.answer_close()
            assert ws.ended_by_flask_sock()


@pytest.mark.parametrize("path", [FLASK_SOCK, "/sock/end"])
def test_nr_conns(gthread, path):
    """The worker's own count of connections is right when simple-websocket has closed them."""
    wait_for(lambda: alone(gthread), "those of earlier tests to be gone")
    end_twenty(gthread, path)
    for _ in range(5):
        wait_for(lambda: alone(gthread), "the count to be right")


@pytest.mark.slow
@pytest.mark.skipif(
    not (26,) <= gunicorn.version_info <= (27, 0, 1),
    reason="a fault of gunicorn 26.0 to 27.0.1; older ones have it not, newer ones were not seen",
)
def test_nr_conns_of_plain_gunicorn(run_server):
    """What the test above guards against: gunicorn's worker counts each of them down twice."""
    with run_server("plain-gthread", "tcp", app="sockets:app") as server:
        wait_for(lambda: ask(server)["nr_conns"] == 1, "the count to begin at 1")
        end_twenty(server, FLASK_SOCK)
        wait_for(lambda: ask(server)["nr_conns"] < 0, "a count below zero")


@pytest.mark.parametrize("path", OURS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_first_frame_with_the_handshake(server, path, opcode):
    """A frame in the handshake's own segment is not lost, and the next one comes behind it."""
    early = frame(b"early", opcode) + frame(bytes(5000), BINARY) + frame(b"in two", opcode)
    with websocket(server, path, early[:-3]) as ws:
        assert ws.receive() == (opcode, b"early")
        assert ws.receive() == (BINARY, bytes(5000))
        ws.client.send(early[-3:])
        assert ws.receive() == (opcode, b"in two")
        ws.close()
    server.wait_sequences("NAHC")
