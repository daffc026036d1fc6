"""Knowing when the peer is gone, and what a view does about it; deadlines, and the reset."""

from __future__ import annotations

import contextvars
import os
import socket
import threading
import time

import pytest
from accepting import dial, tcp_listener
from flask import Flask, Response
from servers import EACH_SERVER_ONCE, PATIENCE, wait_for
from werkzeug.exceptions import ClientDisconnected

from flask_rawsocket import NoConnectionError, RawSocket, RawSocketError, _wsgi, disconnect

pytestmark = pytest.mark.slow


def one(server, key, before):
    """Wait for the first event that has `key`, among those recorded since `before`."""

    def found():
        return next((each for each in server.events()[before:] if key in each), None)

    return wait_for(found, f"an event with {key!r}")


def watching(server, client, path="/watch", *headers, **kwargs):
    """Send a request whose view watches its connection; wait until it does."""
    before = len(server.events())
    client.get(path, *headers, **kwargs)
    one(server, "watching", before)
    return before


STATUSES = {"FIN_RECEIVED", "CLOSED", "RESET"}


@pytest.mark.slow
def test_close(server):
    """The callback comes, the wait ends, and the status says what the kernel can tell."""
    with server.connect() as client:
        before = watching(server, client)
    event = one(server, "gone", before)
    assert (event["gone"], event["called"]) == (True, True)
    assert event["status"] in ({"CLOSED", "RESET"} if server.transport == "unix" else STATUSES)


def test_reset(server):
    """A reset is a reset over TCP."""
    with server.connect() as client:
        before = watching(server, client)
        client.reset()
    event = one(server, "gone", before)
    assert event["gone"]
    if server.transport == "tcp":
        assert event["status"] == "RESET"


def test_close_behind_an_unread_body(server):
    """A body that nobody has read hides nothing."""
    with server.connect() as client:
        before = watching(
            server, client, "/watch", "Content-Length: 1000", method="POST", body=b"x" * 1000
        )
    assert one(server, "gone", before)["gone"]


def test_close_behind_a_body_that_was_read(server):
    """So it is after the body was read."""
    with server.connect() as client:
        before = watching(
            server, client, "/watch?read=1", "Content-Length: 9", method="POST", body=b"x" * 9
        )
    assert one(server, "gone", before)["gone"]


def test_close_behind_pipelined_data(server):
    """A second request in the pipe hides nothing either."""
    with server.connect() as client:
        before = watching(server, client, body=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert one(server, "gone", before)["gone"]


def test_half_close(server):
    """A half-close is told from a close over UNIX; over TCP the kernel cannot know."""
    if server.transport == "tls":
        pytest.skip("Python's ssl module cannot half-close")
    with server.connect() as client:
        before = watching(server, client)
        client.sock.shutdown(socket.SHUT_WR)
        event = one(server, "gone", before)
        assert (event["gone"], event["status"]) == (True, "FIN_RECEIVED")


def test_still_there(server):
    """A client that waits for its response is not gone, and nothing of what it sends is read."""
    with server.connect() as client:
        client.get("/watch?timeout=0.2", body=b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().status == 200
        if server.keeps_alive:
            assert client.response().json == {"status": "OPEN", "gone": False}


def test_the_callback_is_quick(server):
    """The callback comes within 100 ms, where the machine lets it: the best of ten."""
    delays = []
    for _ in range(10):
        client = server.connect()
        before = watching(server, client)
        left = time.time()
        client.close()
        delays.append(one(server, "callback", before)["callback"] - left)
        one(server, "gone", before)
        if delays[-1] < 0.1:
            break
    assert min(delays) < 0.1


def test_a_stream_is_ended(server):
    """A stream that nobody reads any more is closed, and its `finally` runs."""
    before = len(server.events())
    with server.connect() as client:
        client.get("/until-gone")
        client._until(b"tick\n")
    assert one(server, "stream_ended", before)
    wait_for(lambda: server.sequences() == ["NAC"], "CLOSED")


def test_a_stream_is_not_begun(server):
    """A stream whose client has gone before its first item makes none."""
    with server.connect() as client:
        before = watching(server, client, "/until-gone-first")
    assert one(server, "gone", before)["gone"]
    server.wait_sequences("NAC")
    assert {"made": True} not in server.events()[before:]


def test_half_a_stream_does_not_look_whole(server):
    """A client that has half-closed, and reads on, sees a broken stream and no proper end."""
    if server.transport == "tls":
        pytest.skip("Python's ssl module cannot half-close")
    before = len(server.events())
    with server.connect() as client:
        client.get("/until-gone")
        client._until(b"tick\n")
        client.sock.shutdown(socket.SHUT_WR)
        got = b""
        reset = False
        try:
            while chunk := client.sock.recv(65536):
                got += chunk
        except ConnectionResetError:
            reset = True
    assert not got.endswith(b"0\r\n\r\n")
    assert reset == (server.transport == "tcp")
    one(server, "stream_ended", before)


@pytest.mark.parametrize(
    "path", ["/checkpoints", "/decorated", "/undecorated", "/async-decorated", "/helper"]
)
def test_a_view_is_stopped_at_its_checkpoint(server, path):
    """A long view stops at its next checkpoint with Werkzeug's ClientDisconnected."""
    before = len(server.events())
    with server.connect() as client:
        client.get(path)
        one(server, "working", before)
    assert one(server, "stopped", before)["stopped"] == "ClientDisconnected"


def test_a_view_whose_connection_is_aborted(server):
    """A view is stopped at its checkpoint when another thread has aborted its connection."""
    before = len(server.events())
    with server.connect() as client:
        client.get("/aborted-elsewhere")
        assert one(server, "stopped", before)["stopped"] == "ClientDisconnected"


def test_a_view_that_sees_it_first(server):
    """A view that returns as soon as it sees its client gone has its callback made all the same."""
    for _ in range(10):
        before = len(server.events())
        with server.connect() as client:
            client.get("/told")
            seen = one(server, "watching", before)["watching"]
        assert one(server, "called_back", before)["called_back"] == seen


def test_no_callback_behind_a_whole_response(server):
    """A client that leaves after it has got its response is nobody's loss."""
    before = len(server.events())
    with server.connect() as client:
        client.get("/called-back", "Connection: close")
        assert client.rest().endswith(b"done")
    server.wait_sequences("NAC")
    assert {"called_back": True} not in server.events()[before:]


def test_waiting_beyond_the_request(gthread):
    """A thread that waits does so beyond its request, until the client goes."""
    before = len(gthread.events())
    with gthread.connect() as client:
        assert client.request("/wait-beyond").body == b"done"
        one(gthread, "waiting", before)
        assert client.request("/status").json == {"status": "OPEN", "gone": False}
    # The server closes too, and what it wakes first is its choice.
    assert one(gthread, "waited", before)["waited"] in {True, "ConnectionClosedError"}


def test_waiting_while_the_owner_closes(server):
    """A thread that waits is told when the connection's owner closes it."""
    before = len(server.events())
    with server.connect() as client:
        client.get("/wait-and-close")
        one(server, "waiting", before)
        client.send(b"x")
        assert one(server, "waited", before)["waited"] == "ConnectionClosedError"


@pytest.fixture
def block(tracker, stack):
    """A RawSocket and a client, in the context of a request that came in on its connection."""
    app = Flask(__name__)
    rawsocket = RawSocket(app)
    client, sock = dial(stack, tcp_listener(tracker, stack))
    context = app.test_request_context()
    _wsgi.put(context.request.environ, sock.connection)
    stack.enter_context(context)
    return rawsocket, client


def wait_stopped(checkpoint):
    """Wait until `checkpoint` stops."""

    def stopped():
        try:
            checkpoint()
        except ClientDisconnected:
            return True

    wait_for(stopped, "the checkpoint to stop")


def test_one_block_in_another(tracker, block):
    """One instance may be entered again inside of itself; every watch is taken back."""
    rawsocket, client = block
    stop = rawsocket.stop_when_disconnected()
    with stop as outer:
        with stop as inner:
            inner()
            rawsocket.checkpoint()
        rawsocket.checkpoint()
        client.close()
        wait_stopped(outer)
        wait_stopped(inner)
        with pytest.raises(ClientDisconnected):
            rawsocket.checkpoint()
    assert len(tracker._watcher) == 0


def test_one_block_in_two_threads(tracker, block):
    """One instance may be entered by several threads, in whatever order they leave."""
    rawsocket, client = block
    stop = rawsocket.stop_when_disconnected()
    entered, leave = threading.Event(), threading.Event()
    failed = []

    def work():
        try:
            with stop as checkpoint:
                checkpoint()
                entered.set()
                assert leave.wait(PATIENCE)
                wait_stopped(checkpoint)
        except BaseException as exc:
            failed.append(exc)
            raise

    thread = threading.Thread(target=contextvars.copy_context().run, args=[work])
    with stop:
        thread.start()
        assert entered.wait(PATIENCE)
    assert len(tracker._watcher) == 1
    client.close()
    leave.set()
    thread.join(PATIENCE)
    assert not failed
    assert len(tracker._watcher) == 0


def test_a_block_that_is_left_in_another_context(tracker, block):
    """A block may be entered by a generator's one caller, and left by its next."""
    rawsocket, client = block

    def generate():
        with rawsocket.stop_when_disconnected() as checkpoint:
            yield checkpoint

    generator = generate()
    checkpoint = contextvars.copy_context().run(next, generator)
    assert next(generator, None) is None
    assert len(tracker._watcher) == 0
    checkpoint()
    client.close()
    wait_stopped(checkpoint)


def test_a_stream_whose_client_stays(block):
    """A stream that is read to its end is whole, and its connection stays as it is."""
    rawsocket, _ = block
    assert list(rawsocket.until_disconnected(iter([b"a", b"b"]))) == [b"a", b"b"]
    rawsocket.checkpoint()


def test_a_stream_of_text(block):
    """The parts may be text, as those of any response."""
    rawsocket, _ = block
    response = Response(rawsocket.until_disconnected(iter(["a", "ö"])))
    assert response.get_data() == "aö".encode()


def test_the_block_of_a_former_request(tracker, block, stack):
    """A block that was never left has no say in another connection's request."""
    rawsocket, client = block
    rawsocket.stop_when_disconnected().__enter__()
    client.close()
    wait_stopped(rawsocket.checkpoint)
    app = Flask(__name__)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    context = app.test_request_context()
    _wsgi.put(context.request.environ, sock.connection)
    with context:
        rawsocket.checkpoint()
        with rawsocket.stop_when_disconnected() as checkpoint:
            checkpoint()
            rawsocket.checkpoint()


@pytest.fixture
def without_socket():
    """An application whose views look for their client, and its test client, which has none."""
    app = Flask(__name__)
    app.testing = True
    rawsocket = RawSocket(app)

    @app.get("/decorated")
    @rawsocket.stop_when_disconnected()
    def decorated():
        rawsocket.checkpoint()
        return "whole"

    @app.get("/block")
    def block():
        with rawsocket.stop_when_disconnected() as outer:
            with rawsocket.stop_when_disconnected() as inner:
                inner()
                outer()
            rawsocket.checkpoint()
        return "whole"

    @app.get("/async")
    @rawsocket.stop_when_disconnected()
    async def coroutine():
        rawsocket.checkpoint()
        return "whole"

    @app.get("/checkpoint")
    def checkpoint():
        rawsocket.checkpoint()
        return "whole"

    @app.get("/stream")
    def stream():
        return Response(rawsocket.until_disconnected(iter(["wh", "ole"])))

    @app.get("/right")
    @rawsocket.require_peer(uid=os.geteuid())
    def right():
        return "never"

    @app.get("/socket")
    def hijack():
        return rawsocket.current_conn.hijack()

    return app.test_client()


@pytest.mark.parametrize("path", ["decorated", "block", "async", "checkpoint", "stream"])
def test_what_asks_for_the_client_where_there_is_no_socket(without_socket, path):
    """The client is taken for present: the application's own tests see its views as they are."""
    for _ in range(2):
        assert without_socket.get(f"/{path}").text == "whole"


@pytest.mark.parametrize("path", ["right", "socket"])
def test_what_gives_something_where_there_is_no_socket(without_socket, path):
    """It fails closed."""
    with pytest.raises(NoConnectionError, match="does not expose its socket"):
        without_socket.get(f"/{path}")


def test_asking_for_the_client_outside_of_a_request():
    """There is no client, and the sentence says so."""
    rawsocket = RawSocket()
    with pytest.raises(NoConnectionError, match="outside of a request"):
        rawsocket.checkpoint()
    with pytest.raises(NoConnectionError, match="outside of a request"):
        rawsocket.stop_when_disconnected().__enter__()
    with pytest.raises(NoConnectionError, match="outside of a request"):
        rawsocket.until_disconnected([b""])


def test_a_block_that_nobody_can_watch(block, monkeypatch):
    """Each checkpoint asks the kernel then."""
    rawsocket, client = block

    def refuse(*_, **__):
        raise RawSocketError("the system can watch no more connections")

    monkeypatch.setattr(disconnect, "watch", refuse)
    with rawsocket.stop_when_disconnected() as checkpoint:
        checkpoint()
        client.close()
        wait_stopped(checkpoint)
        wait_stopped(rawsocket.checkpoint)


def test_read_deadline(server):
    """Reading past the read deadline raises TimeoutError in the view."""
    with server.connect() as client:
        client.get("/read-deadline", "Content-Length: 10", method="POST", body=b"half")
        answer = client.response()
        assert answer.json["error"] == "ReadDeadlineError"  # caught as a TimeoutError
    server.wait_sequences("NAC")


def test_a_deadline_that_is_kept(server):
    """A body that comes in time is read as ever."""
    with server.connect() as client:
        answer = client.request(
            "/read-deadline?seconds=10", "Content-Length: 4", method="POST", body=b"body"
        )
        assert answer.json == {"length": 4}


@pytest.mark.slow
@pytest.mark.parametrize(("server", "transport"), EACH_SERVER_ONCE, indirect=["server"])
def test_write_deadline(server):
    """A client that does not read is let go past the write deadline, and no failure logged."""
    before = len(server.log.read_text())
    with server.connect() as client:
        client.get("/write-deadline", "Connection: close")
        server.wait_sequences("NAC")
        assert server.closed()[0]["reason"] in {"ERROR", "CLIENT"}
    assert "Traceback" not in server.log.read_text()[before:]


def test_deadlines_end_with_their_request(gthread):
    """The next request on the connection has none of them."""
    with gthread.connect() as client:
        assert client.request("/set-deadlines").status == 200
        assert client.request("/upload", "Content-Length: 2", method="POST", body=b"ab").json == {
            "length": 2
        }


def test_abort(server):
    """`abort()` resets the connection, and nothing of the response is sent."""
    before = len(server.log.read_text())
    with server.connect() as client:
        client.get("/abort")
        try:
            got = client.rest()
        except ConnectionResetError:
            got = b""
        else:
            assert server.transport != "tcp", "a FIN, where an RST was due"
        assert got == b""
    server.wait_sequences("NAC")
    assert server.closed()[0]["reason"] == "APP"
    assert "Traceback" not in server.log.read_text()[before:]
