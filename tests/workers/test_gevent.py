"""`GeventWorker`: what only a worker with greenlets does, and processes that gevent has patched."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from servers import PATIENCE, ask, is_running, pid_of, wait_for
from test_bad_peers import HELLO

pytest.importorskip("gevent")

pytestmark = pytest.mark.slow

LOST = (
    "InvalidStateError: an earlier read of the request's body was broken off, and what it had read "
    "is lost"
)

PATCH = "import gevent.monkey\n\ngevent.monkey.patch_all()\n"


def served(server):
    """Ask twice on one connection, and hijack another; give the sequences of states."""
    server.mark()
    with server.connect() as client:
        assert [client.request().json["requests"] for _ in range(2)] == [1, 2]
    with server.hand_over("/echo-thread") as client:
        client.send(b"x")
        assert client._exactly(1) == b"x"
    server.wait_sequences("NAIAIC", "NAHC")
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("name", ["gevent", "gevent_pywsgi"])
class TestPatched:
    """Wherever the process is patched, it is served as if it were not before."""

    def test_in_the_configuration(self, run_server, tmp_path, name):
        """Before anything of ours, or of gunicorn's worker, has been imported."""
        conf = tmp_path / "conf.py"
        conf.write_text(PATCH)
        with run_server(name, "tcp", "-c", str(conf), app="taking:app") as server:
            served(server)

    def test_in_the_worker(self, run_server, tmp_path, name):
        """By a hook, in the worker's process alone."""
        conf = tmp_path / "conf.py"
        conf.write_text(f"def post_fork(server, worker):\n    {PATCH.replace(chr(10) * 2, '; ')}")
        with run_server(name, "tcp", "-c", str(conf), app="taking:app") as server:
            served(server)

    @pytest.mark.parametrize("options", [(), ("--preload",)], ids=["in-the-worker", "preloaded"])
    def test_in_the_application(self, run_server, tmp_path, name, options):
        """When it is imported, by the worker, or by the arbiter before that."""
        (tmp_path / "patching.py").write_text(PATCH + "from taking import app\n")
        path = os.pathsep.join([str(tmp_path), os.path.dirname(__file__) + "/../apps"])
        env = {"PYTHONPATH": path}
        with run_server(name, "tcp", *options, env=env, app="patching:app") as server:
            served(server)


@pytest.fixture(scope="module")
def small(run_server):
    """A worker that serves two connections at once."""
    with run_server("gevent", "tcp", "--worker-connections", "2", app="taking:app") as server:
        yield server


def test_hijacked_ones_take_no_place(small):
    """A connection counts no more when its view has left it to another greenlet."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(small.hand_over("/echo-thread")) for _ in range(5)]
        assert ask(small).status == 200
        for each in taken:
            each.send(b"x")
            assert each._exactly(1) == b"x"


def test_one_too_many_waits(small):
    """It is accepted when there is room."""
    wait_for(lambda: all(each[-1] == "C" for each in small.sequences()), "quiet")
    small.mark()
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            client = stack.enter_context(small.connect())
            client.get("/slow?seconds=0.3")
        wait_for(lambda: small.sequences() == ["NA", "NA"], "two")
        assert ask(small).status == 200


def test_without_gevent(tmp_path):
    """It is said how to install it; gunicorn prints the sentence, and ends."""
    (tmp_path / "conf.py").write_text("import sys\n\nsys.modules['gevent'] = None\n")
    command = [sys.executable, "-m", "gunicorn", "-k", "flask_rawsocket.GeventWorker"]
    done = subprocess.run(
        [*command, "-c", "conf.py", "--no-control-socket", "-b", "127.0.0.1:0", "nowhere:app"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    text = "flask_rawsocket.GeventWorker needs gevent: pip install 'Flask-RawSocket[gevent]'"
    assert text in done.stderr + done.stdout


def test_a_client_that_ends_tls_amid_the_handshake(run_server):
    """It has left, and the log says nothing of a bad request."""
    with run_server("gevent", "tls") as server:
        server.mark()
        for _ in range(3):
            with server.raw() as sock:
                sock.sendall(HELLO[:50])
        server.wait_sequences("NC", "NC", "NC")
        assert {each["reason"] for each in server.closed()} == {"CLIENT"}
        assert "Invalid request" not in server.log.read_text()


@pytest.mark.parametrize("name", ["gevent", "gevent_pywsgi"])
def test_full_when_it_stops(run_server, name):
    """What is queued is served when there is a place; the listener is closed, and left alone."""
    with run_server(name, "tcp", "--worker-connections", "2", app="taking:app") as server:
        server.mark()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(3)]
            for each in clients[:2]:
                each.get("/slow?seconds=1")
            wait_for(lambda: server.sequences() == ["NA", "NA"], "a full pool")
            clients[2].get("/")
            server.process.send_signal(signal.SIGTERM)
            assert [each.response().status for each in clients] == [200, 200, 200]
        assert server.process.wait(PATIENCE) == 0
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("name", ["gevent", "gevent_pywsgi"])
def test_full_when_it_is_replaced(run_server, name):
    """A worker that stops accepts nothing more when it has a place again: its successor does."""
    with run_server(name, "tcp", "--worker-connections", "2", app="taking:app") as server:
        former = pid_of(server)
        server.mark()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(2)]
            clients[0].get("/slow?seconds=0.7")
            clients[1].get("/slow?seconds=2")
            wait_for(lambda: server.sequences() == ["NA", "NA"], "a full pool")
            os.kill(former, signal.SIGTERM)
            assert clients[0].response().status == 200
            assert pid_of(server) != former
            assert clients[1].response().status == 200


@pytest.fixture(scope="module", params=["gevent", "gevent_pywsgi", "pywsgi"])
def greenlets(request, run_server):
    """Each server whose connections have greenlets."""
    with run_server(request.param, "tcp", app="greenlets:app") as server:
        yield server


def test_killed_between_two_requests(greenlets):
    """Nothing is said that a client could take for an answer to its next request."""
    greenlets.mark()
    with greenlets.connect() as client:
        number = client.request("/note-greenlet").json["id"]
        wait_for(lambda: greenlets.sequences() == ["NAI"], "IDLE")
        assert ask(greenlets, f"/kill-greenlet/{number}").status == 200
        assert client.rest() == b""
    greenlets.wait_sequences("NAIC", "NAC")
    assert all(each["usable"] for each in greenlets.closed())


def test_a_view_that_exits(greenlets):
    """It has failed, and is answered so; the server goes on."""
    assert ask(greenlets, "/exit").status == 500
    assert ask(greenlets).status == 200


@pytest.mark.parametrize(
    ("header", "begin", "rest"),
    [
        ("Content-Length: 100", b"", b"x" * 50),
        ("Transfer-Encoding: chunked", b"64\r\n", b"x" * 50 + b"\r\n0\r\n\r\n"),
    ],
    ids=["length", "chunked"],
)
def test_a_read_that_times_out(greenlets, header, begin, rest):
    """A further one finds the body, or fails; what comes behind it begins no request."""

    def is_late(event):
        return "timed_out" in event

    before = len([*filter(is_late, greenlets.events())])
    with greenlets.connect() as client:
        client.get("/read-with-timeout", header, method="POST", body=begin + b"x" * 50)
        wait_for(lambda: len([*filter(is_late, greenlets.events())]) > before, "the timeout")
        client.send(rest + b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        response = client.response()
        assert response.json in ({"length": 100}, {"error": LOST})
        assert response.headers["connection"] == "close"
        assert client.rest() == b""


def test_without_an_arbiter(run_server):
    """Where that has been killed, the request in hand is answered all the same."""
    with run_server("gevent", app="taking:app") as server:
        pid = pid_of(server)
        server.mark()
        with server.connect() as client:
            client.get("/slow?seconds=2")
            wait_for(lambda: server.sequences() == ["NA"], "the view")
            server.process.kill()
            assert client.response().status == 200
        wait_for(lambda: not is_running(pid), "the worker's end")
