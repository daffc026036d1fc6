"""gevent's own WSGI server, over each transport: what gunicorn's worker does not do for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from servers import APPS, wait_for

gevent = pytest.importorskip("gevent")

pytestmark = pytest.mark.slow

OK = "b'HTTP/1.1 200'"


@pytest.fixture(scope="module")
def pywsgi_servers(run_server):
    """A server for each transport, started when it is first asked for."""
    started = {}
    contexts = []

    def get(transport):
        if transport not in started:
            contexts.append(run_server("pywsgi", transport, app="taking:app"))
            started[transport] = contexts[-1].__enter__()
        return started[transport]

    yield get
    for each in contexts:
        each.__exit__(None, None, None)


@pytest.fixture
def server(transport, pywsgi_servers):
    """The server over each transport, with nothing recorded as far as the test sees."""
    found = pywsgi_servers(transport)
    found.mark()
    return found


def test_two_requests(server):
    """A kept connection is IDLE between them, and one Connection."""
    with server.connect() as client:
        assert client.request().json["requests"] == 1
        wait_for(lambda: server.sequences() == ["NAI"], "IDLE")
        assert client.request().json["requests"] == 2
    server.wait_sequences("NAIAIC")


def test_pipelined_requests(server):
    """What has been read ahead begins the next request."""
    with server.connect() as client:
        client.get()
        client.get("/", "Connection: close")
        assert [client.response().json["requests"] for _ in range(2)] == [1, 2]
        assert client.rest() == b""
    server.wait_sequences("NAIAC")


def test_garbage(server):
    """It is answered with 400, and ends by an error."""
    with server.connect() as client:
        client.send(b"\x00\x01garbage\r\n\r\n")
        assert client.rest().startswith(b"HTTP/1.1 400 ")
    server.wait_sequences("NAC")
    assert server.closed()[0]["reason"] == "ERROR"


def test_hijack(server):
    """Early bytes come out of the stream first; the owner's close is the end."""
    with server.connect() as client:
        client.send(b"GET /echo-thread HTTP/1.1\r\nHost: a\r\n\r\nearly")
        assert client._exactly(11) == b"HELLO\nearly"
    server.wait_sequences("NAHC")


def test_a_unix_peer(server):
    """REMOTE_ADDR is its key."""
    with server.connect() as client:
        answer = client.request("/", "Connection: close").json
    if server.transport == "unix":
        assert answer["remote_addr"] == answer["key"]
    else:
        assert answer["key"].startswith("127.0.0.1:")


def test_stop(run_server):
    """A request in hand is answered, a hijacked connection is ended, and on_shutdown is called."""
    with run_server("pywsgi", app="taking:app") as server:
        server.mark()
        with server.hand_over("/echo-thread") as taken, server.connect() as slow:
            slow.get("/slow?seconds=0.5")
            wait_for(lambda: sorted(server.sequences()) == ["NA", "NAH"], "both")
            server.process.send_signal(signal.SIGTERM)
            assert slow.response().status == 200
            assert taken.at_eof()
        assert server.process.wait(20) == 0
        assert [each for each in server.events() if "shutdown" in each]


STOPS = """
from gevent import monkey
monkey.patch_all()
import gevent.socket, time
from gevent.pool import Pool
from contract import app, rawsocket
from flask_rawsocket import ConnState
from flask_rawsocket._sockets import stopping
from flask_rawsocket.pywsgi import WSGIServer, _server

stopping.REQUESTS_TIMEOUT = _server.REQUESTS_TIMEOUT = {patience}

@app.get("/sleep/<float:seconds>")
def sleep(seconds):
    time.sleep(seconds)
    return "slept"

@rawsocket.on_state_change(ConnState.CLOSED)
def closed(conn, old, new):
    print(conn.id, conn.close_reason.name, conn.fileno() >= 0)

def ask(path):
    with gevent.socket.create_connection(server.address) as client:
        client.sendall(b"GET " + path + b" HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        return client.recv(12) or "nothing"

server = WSGIServer(("127.0.0.1", 0), app, spawn=Pool(1), log=None)
server.start()
asking = [gevent.spawn(ask, each) for each in (b"/sleep/{seconds}", b"/")]
while not server.full():
    gevent.sleep(0.01)
server.stop(timeout=0)
print(*[each.get(timeout=5) for each in asking])
"""


@pytest.mark.parametrize(
    ("seconds", "patience", "expected"),
    [
        (0.5, 5.0, ["1 RESPONSE_COMPLETE True", "2 RESPONSE_COMPLETE True", f"{OK} {OK}"]),
        (60.0, 0.2, ["2 STOPPED True", "1 STOPPED True", "b'HTTP/1.1 500' nothing"]),
    ],
    ids=["ends", "does-not-end"],
)
def test_stop_with_a_full_pool(tmp_path, seconds, patience, expected):
    """What is queued is served as places become free; what does not end is killed, and CLOSED."""
    program = STOPS.format(seconds=seconds, patience=patience)
    env = os.environ | {"PYTHONPATH": str(APPS), "CONTRACT_RECORD": str(tmp_path / "record")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == expected, done.stderr


def test_stop_before_the_start():
    """A server that was given a listening socket, and has not begun, is closed."""
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import socket\n"
        "from flask_rawsocket.pywsgi import WSGIServer\n"
        "server = WSGIServer(socket.create_server(('127.0.0.1', 0)), print)\n"
        "server.stop()\n"
        "assert server.closed\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


EXITS = """
from gevent import monkey
monkey.patch_all()
import os, signal, gevent.socket
from flask_rawsocket.pywsgi import WSGIServer

signal.signal(signal.SIGTERM, lambda *_: exit(7))

def app(environ, start_response):
    os.kill(os.getpid(), signal.SIGTERM)
    return []

server = WSGIServer(("127.0.0.1", 0), app)
server.start()
client = gevent.socket.create_connection(server.address)
client.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
client.recv(1)
"""


def test_a_signal_amid_a_view():
    """What its handler raises ends the program, though a view is interrupted by it."""
    done = subprocess.run([sys.executable, "-c", EXITS], timeout=60, check=False)
    assert done.returncode == 7


PLAIN = """
import sys
{before}
from flask_rawsocket.pywsgi import WSGIServer
WSGIServer(("127.0.0.1", 0), lambda *_: [])
"""


def last_words(before, folder):
    """Run a program that makes a server in a process that is not patched; give its last line."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN.format(before=before)],
        cwd=folder,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_not_patched(tmp_path):
    """A process that gevent has not patched is told so, in one sentence."""
    said = last_words("", tmp_path)
    assert "flask_rawsocket.pywsgi.WSGIServer needs a process that gevent has patched" in said
    assert "gevent.monkey.patch_all()" in said


def test_no_gevent(tmp_path):
    """Without gevent, it is said how to install it."""
    said = last_words("sys.modules['gevent'] = None", tmp_path)
    assert said.endswith("needs gevent: pip install 'Flask-RawSocket[gevent]'")


BESIDE_A_THREAD = """
from gevent import monkey
monkey.patch_all()
import gevent, gevent.socket
from flask_rawsocket._tracking.tracker import process_tracker
from flask_rawsocket.pywsgi import WSGIServer

def hold():
    with process_tracker._lock:
        monkey.get_original("time", "sleep")(0.3)

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

server = WSGIServer(("127.0.0.1", 0), app)
server.start()
client = gevent.socket.create_connection(server.address)
holding = gevent.get_hub().threadpool.spawn(hold)
while process_tracker._lock.acquire(blocking=False):
    process_tracker._lock.release()
    monkey.get_original("time", "sleep")(0.001)
client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
with gevent.Timeout(10):
    assert client.recv(15) == b"HTTP/1.1 200 OK", "no answer"
"""


def test_beside_a_native_thread():
    """One that has the tracker's lock keeps the hub, which accepts connections, for a moment."""
    program = [sys.executable, "-c", BESIDE_A_THREAD]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
