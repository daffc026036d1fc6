"""What hostile clients, and owners with several threads, have once broken."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time

import pytest
from accepting import begin_request, dial, tcp_listener
from servers import client_context, running, wait_for

from flask_rawsocket import ConnectionClosedError
from flask_rawsocket._sockets.tls_context import track_tls
from flask_rawsocket._tracking.tracker import ConnectionTracker

pytestmark = pytest.mark.slow

UNREAD = """
from flask import Flask

from flask_rawsocket import RawSocket

app = Flask(__name__)
RawSocket(app)


@app.get("/")
def index():
    return "ok"


@app.post("/unread")
def unread():
    return b"y" * 300_000
"""


@pytest.fixture
def serve(tmp_path, certificate):
    """Run the little application above on a server."""
    (tmp_path / "attacked.py").write_text(UNREAD)

    def run(name, transport, *options):
        env = {"PYTHONPATH": str(tmp_path)}.items()
        return running(
            name, transport, tmp_path / name, certificate, *options, env=env, app="attacked:app"
        )

    return run


@pytest.fixture
def tls_pair(certificate):
    """A client, and the server's end of its connection, handshake done."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    track_tls(context)
    with contextlib.ExitStack() as stack:
        client, sock = dial(stack, tcp_listener(ConnectionTracker(), stack))
        wrapped = []
        server = threading.Thread(
            target=lambda: wrapped.append(context.wrap_socket(sock, server_side=True))
        )
        server.start()
        client = stack.enter_context(client_context().wrap_socket(client))
        server.join()
        yield client, wrapped[0]
        wrapped[0].close()


@pytest.mark.parametrize("name", ["sync", "gthread", "werkzeug"])
@pytest.mark.parametrize("transport", ["tcp", "unix", "tls"])
def test_a_response_beside_an_unread_body_is_whole(serve, name, transport):
    """The close waits for what the client is still sending, TLS records that nobody reads too."""
    with serve(name, transport) as server:
        for _ in range(5):
            with server.connect() as client:
                client.get("/unread", "Content-Length: 20000", method="POST", body=b"b" * 20_000)
                assert client.response().body.count(b"y") == 300_000


@pytest.mark.parametrize("name", ["sync", "gthread"])
@pytest.mark.parametrize("transport", ["tcp", "unix", "tls"])
def test_a_response_beside_a_long_unread_body_is_whole(serve, name, transport):
    """However long the body is; Werkzeug's own server waits 10 ms for more of it."""
    size = 4_000_000
    with serve(name, transport) as server:
        for _ in range(5):
            with server.connect() as client:
                client.get("/unread", f"Content-Length: {size}", method="POST")
                sending = threading.Thread(target=client.send, args=[bytes(size)])
                sending.start()
                if transport != "unix":  # whose buffers are smaller than the response
                    sending.join()
                assert client.response().body.count(b"y") == 300_000
                sending.join()


@pytest.mark.parametrize("transport", ["tcp", "unix", "tls"])
def test_empty_lines_without_end_hold_no_thread(serve, transport):
    """Clients that send nothing but CR LF, as fast as they can, leave the threads to others."""
    with serve("gthread", transport, "--threads", "2") as server:
        stop, sent = threading.Event(), []

        def flood():
            with contextlib.suppress(OSError), server.connect() as client:
                while not stop.is_set():
                    client.send(b"\r\n" * 100_000)
                    sent.append(1)

        flooders = [threading.Thread(target=flood) for _ in range(3)]
        for each in flooders:
            each.start()
        try:
            wait_for(lambda: len(sent) > 20, "the flood")
            for _ in range(5):
                began = time.monotonic()
                with server.connect() as client:
                    assert client.request("/", "Connection: close").body == b"ok"
                assert time.monotonic() - began < 5
        finally:
            stop.set()
            for each in flooders:
                each.join()


def test_no_read_begins_while_the_end_is_sent(tls_pair, monkeypatch):
    """OpenSSL takes one call at a time, and close_notify is sent with a timeout of 0."""
    client, sock = tls_pair
    client.sendall(b"x")
    assert sock.recv(1) == b"x"
    begin_request(sock.connection)
    stream = sock.connection.hijack()
    send_end = stream.sock.end_halves
    found = []

    def read():
        try:
            found.append(stream.recv(10))
        except Exception as exc:  # noqa: BLE001  that is what is looked for
            found.append(exc)

    def end_halves(how):
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(5)
        found.append(reader.is_alive())
        send_end(how)

    monkeypatch.setattr(stream.sock, "end_halves", end_halves)
    stream.close()
    assert isinstance(found[0], ConnectionClosedError), found
    assert found[1] is False
