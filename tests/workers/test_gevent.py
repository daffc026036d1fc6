"""`GeventWorker`: what only a worker with greenlets does, and processes that gevent has patched."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest
from servers import ask, wait_for
from test_bad_peers import HELLO

pytest.importorskip("gevent")

pytestmark = pytest.mark.slow

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


class TestPatched:
    """Wherever the process is patched, it is served as if it were not before."""

    def test_in_the_configuration(self, run_server, tmp_path):
        """Before anything of ours, or of gunicorn's worker, has been imported."""
        conf = tmp_path / "conf.py"
        conf.write_text(PATCH)
        with run_server("gevent", "tcp", "-c", str(conf), app="taking:app") as server:
            served(server)

    def test_in_the_worker(self, run_server, tmp_path):
        """By a hook, in the worker's process alone."""
        conf = tmp_path / "conf.py"
        conf.write_text(f"def post_fork(server, worker):\n    {PATCH.replace(chr(10) * 2, '; ')}")
        with run_server("gevent", "tcp", "-c", str(conf), app="taking:app") as server:
            served(server)

    def test_in_the_application(self, run_server, tmp_path):
        """When it is imported, once more."""
        (tmp_path / "patching.py").write_text(PATCH + "from taking import app\n")
        path = os.pathsep.join([str(tmp_path), os.path.dirname(__file__) + "/../apps"])
        env = {"PYTHONPATH": path}
        with run_server("gevent", "tcp", env=env, app="patching:app") as server:
            served(server)

    def test_preloaded(self, run_server, tmp_path):
        """An application that patches, and that the arbiter imports."""
        (tmp_path / "patching.py").write_text(PATCH + "from taking import app\n")
        path = os.pathsep.join([str(tmp_path), os.path.dirname(__file__) + "/../apps"])
        env = {"PYTHONPATH": path}
        with run_server("gevent", "tcp", "--preload", env=env, app="patching:app") as server:
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
