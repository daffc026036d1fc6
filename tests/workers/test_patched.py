"""A process whose sockets or threads have been replaced: one sentence, and nothing is served."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

WORKERS = {"ThreadWorker": "flask_rawsocket.Worker", "SyncWorker": "flask_rawsocket.SyncWorker"}

APP = "from flask import Flask\n\napp = Flask(__name__)\n"

STAND_IN = """
import {module}

class Other({module}.{name}):
    pass

def patch():
    {module}.{name} = Other
"""

GEVENT = "import gevent.monkey\n\npatch = gevent.monkey.patch_all\n"

PATCHES = {
    "socket": (STAND_IN.format(module="socket", name="socket"), "socket.socket has been replaced"),
    "ssl": (STAND_IN.format(module="ssl", name="SSLSocket"), "ssl.SSLSocket has been replaced"),
    "gevent": (GEVENT, "gevent has patched socket, ssl, select, selectors, threading"),
}


@pytest.fixture(params=PATCHES)
def patch(request):
    """The text of a module that patches, and what is to be said of it."""
    if request.param == "gevent":
        pytest.importorskip("gevent")
    return PATCHES[request.param]


def run(folder, command, conf="", app=""):
    """Run a server that is to end by itself; give its exit code and what it has said."""
    (folder / "conf.py").write_text(conf)
    (folder / "patched.py").write_text("import flask_rawsocket.serving\n" + app + APP)
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def gunicorn(worker, *options):
    command = ["gunicorn", "-k", WORKERS[worker], "-b", "127.0.0.1:0", "--no-control-socket"]
    return [*command, "-c", "conf.py", *options, "patched:app"]


def is_one_sentence(said, what, name):
    lines = [line for line in said.splitlines() if what in line]
    assert len(lines) == 1, said
    assert name in lines[0]
    assert "gunicorn -k flask_rawsocket.GeventWorker" in lines[0]
    assert "Exception in worker process" not in said, said


@pytest.mark.parametrize("worker", WORKERS)
class TestWorkers:
    """gunicorn ends; nothing is tried over and over."""

    def test_in_the_arbiter(self, tmp_path, patch, worker):
        """The configuration patches, before our worker is imported or after."""
        text, what = patch
        code, said = run(
            tmp_path, gunicorn(worker), conf=text + "\ndef on_starting(server):\n    patch()\n"
        )
        assert code == 1, said
        is_one_sentence(said, what, f"flask_rawsocket.workers.{worker} ")

    def test_in_the_worker(self, tmp_path, patch, worker):
        """A hook patches the worker's process alone."""
        text, what = patch
        code, said = run(
            tmp_path,
            gunicorn(worker),
            conf=text + "\ndef post_fork(server, worker):\n    patch()\n",
        )
        assert code == 3, said
        is_one_sentence(said, what, f"flask_rawsocket.workers.{worker} ")

    def test_in_the_application(self, tmp_path, patch, worker):
        """The application patches when it is imported: our own module has been already."""
        text, what = patch
        code, said = run(tmp_path, gunicorn(worker), app=text + "\npatch()\n")
        assert code == 3, said
        is_one_sentence(said, what, f"flask_rawsocket.workers.{worker} ")


@pytest.mark.parametrize("worker", WORKERS)
def test_gevent_before_the_import(tmp_path, worker):
    """What gevent's sockets are in the place of before our import is told by gevent itself."""
    pytest.importorskip("gevent")
    code, said = run(tmp_path, gunicorn(worker), conf=GEVENT + "\npatch()\n")
    assert code == 1, said
    is_one_sentence(said, "gevent has patched", f"flask_rawsocket.workers.{worker} ")


@pytest.mark.parametrize("worker", WORKERS)
def test_preloaded(tmp_path, worker):
    """The arbiter imports an application that patches."""
    pytest.importorskip("gevent")
    code, said = run(tmp_path, gunicorn(worker, "--preload"), app=GEVENT + "\npatch()\n")
    assert code == 1, said
    is_one_sentence(said, "gevent has patched", f"flask_rawsocket.workers.{worker} ")


def test_before_the_development_server(tmp_path):
    """Whoever starts the command has patched before, as ``python -m gevent.monkey`` does."""
    pytest.importorskip("gevent")
    (tmp_path / "run.py").write_text(GEVENT + "\npatch()\nfrom flask.cli import main\nmain()\n")
    command = ["run", "--app", "patched:app", "rawsocket", "run", "--port", "0"]
    code, said = run(tmp_path, command)
    assert code == 1, said
    is_one_sentence(said, "gevent has patched", "flask_rawsocket.serving.ThreadedWSGIServer ")
    assert "Running on" not in said


WAITRESS = """
import flask_rawsocket.waitress
{patch}
flask_rawsocket.waitress.serve(print, listen="127.0.0.1:0")
"""


def test_waitress(tmp_path, patch):
    """It is said before it listens; its module has been imported already, or not."""
    pytest.importorskip("waitress.server")
    text, what = patch
    (tmp_path / "serve.py").write_text(WAITRESS.format(patch=text + "\npatch()\n"))
    code, said = run(tmp_path, ["serve"])
    assert code == 1, said
    is_one_sentence(said, what, "flask_rawsocket.waitress ")


def test_development_server(tmp_path, patch):
    """The development server says it before it listens."""
    text, what = patch
    command = ["flask", "--app", "patched:app", "rawsocket", "run", "--port", "0"]
    code, said = run(tmp_path, command, app=text + "\npatch()\n")
    assert code == 1, said
    is_one_sentence(said, what, "flask_rawsocket.serving.ThreadedWSGIServer ")
    assert "Running on" not in said


def test_only_an_import_of_gevent(tmp_path):
    """An import of gevent that has patched nothing is no reason."""
    pytest.importorskip("gevent")
    program = (
        "import gevent.monkey\n"
        "from flask_rawsocket.serving import make_server\n"
        "make_server('127.0.0.1', 0, lambda *_: []).server_close()\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, timeout=60, check=True)
