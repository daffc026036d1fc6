"""An end of ours is an end for the peer: at once, whole, and whoever else has the descriptor."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
from pathlib import Path

import pytest
from servers import Client, client_context, wait_for

pytestmark = pytest.mark.slow

OVER_TLS = ["werkzeug", "sync", "gthread"]


@pytest.fixture(scope="module")
def ends(run_server):
    """A function that gives a running server with the application `ends`."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(name, transport):
            if (name, transport) not in started:
                started[name, transport] = stack.enter_context(
                    run_server(name, transport, app="ends:app")
                )
            found = started[name, transport]
            found.mark()
            return found

        yield get


def strict(server):
    """Connect over TLS as a client for whom an end without close_notify is a cut."""
    sock = client_context().wrap_socket(
        server.raw(), server_hostname="localhost", suppress_ragged_eofs=False
    )
    return Client(sock)


@pytest.mark.parametrize("name", OVER_TLS)
@pytest.mark.parametrize("path", ["/owner-ends", "/async", "/", "/stream"])
def test_close_notify(ends, name, path):
    """Every end of TLS from our side is said with close_notify before the FIN (RFC 8446, 6.1).

    krb5#1196, curl#17471, trafficserver#9880: strict clients take anything else for a cut stream.
    """
    with strict(ends(name, "tls")) as client:
        client.get(path, "Connection: close")
        if path == "/async":
            assert client._until(b"\n")[0] == b"HELLO"
            client.sock.unwrap().close()
            return
        assert client.rest()  # raises SSLEOFError without close_notify


def test_close_notify_at_a_keepalive_timeout(run_server):
    """A connection that was kept, and no request came."""
    with run_server("gthread", "tls", "--keep-alive", "1") as server, strict(server) as client:
        assert client.request("/").status == 200
        assert client.rest() == b""


@pytest.mark.parametrize("name", OVER_TLS)
def test_close_notify_to_an_owner_that_is_ended(run_server, name):
    """A hijacked connection that the server ends at its stop, while its owner is reading."""
    with run_server(name, "tls", app="ends:app") as server, strict(server) as client:
        client.get("/echo-thread")
        assert client._until(b"\n")[0] == b"HELLO"
        client.buffered = b""
        server.process.send_signal(signal.SIGINT if name == "werkzeug" else signal.SIGTERM)
        assert client.rest() == b""


@pytest.mark.parametrize("transport", ["tcp", "unix", "tls"])
@pytest.mark.parametrize("name", ["werkzeug", "sync", "gthread"])
@pytest.mark.parametrize("path", ["/with-a-child?how=close&", "/with-a-duplicate?"])
def test_others_have_the_descriptor(ends, name, transport, path, tmp_path):
    """The owner's close is the end, though a forked child or a duplicate is still open.

    cherrypy#856, gipc#22: it depended on being the last holder of the descriptor.
    """
    if transport == "tls" and "duplicate" in path:
        pytest.skip("an SSLSocket has no duplicates")
    server, gate = ends(name, transport), tmp_path / "gate"
    with server.connect() as client:
        client.get(f"{path}gate={gate}")
        assert client._until(b"\n")[0] == b"HELLO"
        assert client.sock.recv(1) == b""
        gate.touch()
    wait_for(server.closed, "CLOSED")


@pytest.mark.parametrize("name", ["werkzeug", "sync", "gthread"])
def test_an_abort_while_a_child_has_it(ends, name, tmp_path):
    """The peer is reset at once, and not when the child ends."""
    server, gate = ends(name, "tcp"), tmp_path / "gate"
    with server.connect() as client:
        client.get(f"/with-a-child?how=abort&gate={gate}")
        with pytest.raises(ConnectionResetError):
            client._until(b"HELLO AND NOTHING MORE")
        gate.touch()
    (event,) = wait_for(server.closed, "CLOSED")
    assert event["reason"] == "APP"


@pytest.mark.parametrize("transport", ["tcp", "unix", "tls"])
@pytest.mark.parametrize("kind", ["keepalive", "response", "owner"])
def test_hooks_delay_nothing(run_server, tmp_path, transport, kind):
    """The peer sees the end while a CLOSED hook is still at work.

    Behind nginx a hook of 20 ms made 76 of 2,100 POSTs a 502: they went into connections whose
    end was waiting for hooks.
    """
    gate = tmp_path / "gate"
    options = ("--keep-alive", "1")
    env = {"CONTRACT_GATE": str(gate)}
    with contextlib.ExitStack() as stack:
        stack.callback(gate.touch)
        gate.touch()  # the hooks of the connections that find out whether the server runs
        server = stack.enter_context(
            run_server("gthread", transport, *options, app="ends:app", env=env)
        )
        gate.unlink()
        before = len(server.events())
        client = stack.enter_context(server.connect())
        if kind == "owner":
            client.get("/owner-ends")
        else:
            client.get("/", *(["Connection: close"] if kind == "response" else []))
        client.at_eof()
        wait_for(lambda: {"hook": "begun"} in server.events()[before:], "the hook")
        assert not gate.exists()
        gate.touch()


@pytest.mark.parametrize("name", OVER_TLS)
def test_nothing_in_the_clear(ends, name):
    """A shutdown of the reading half leaves the session: TLS is never answered in the clear."""
    server = ends(name, "tls")
    with server.raw() as raw:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        seen = b""
        handshaking = True
        while True:
            try:
                if handshaking:
                    session.do_handshake()
                    handshaking = False
                    session.write(b"GET /shut-the-reading-half HTTP/1.1\r\nHost: test\r\n\r\n")
                session.read()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                break
            raw.sendall(outgoing.read())
            try:
                data = raw.recv(65536)
            except ConnectionResetError:
                break
            if not data:
                break
            seen += data
            incoming.write(data)
    assert b"HTTP/1.1" not in seen
    assert b"nobody may read" not in seen


def state_of(pid):
    """Return the letter of a process's state (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_request_that_comes_as_the_time_is_over(run_server):
    """An expired connection that is readable is served, and not closed with its request unread."""
    with run_server("gthread", "tcp", "--keep-alive", "1", "--threads", "1") as server:
        kept = server.connect()
        with kept, server.connect() as busy:
            pid = kept.request("/").json["pid"]
            # The worker is stopped beyond the keep-alive time.
            os.kill(pid, signal.SIGSTOP)
            wait_for(lambda: state_of(pid) == "T", "the worker to be stopped")
            kept.get("/")
            busy.get("/")
            kept.sock.settimeout(1.5)
            with pytest.raises(TimeoutError):
                kept.sock.recv(1)
            kept.sock.settimeout(20)
            os.kill(pid, signal.SIGCONT)
            assert kept.response().status == 200
            assert busy.response().status == 200
