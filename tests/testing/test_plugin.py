"""The pytest plugin, as a test suite of a user's own has it: each in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SHARED = """
from flask import Flask
from flask_rawsocket import RawSocket

heard = []
rawsocket = RawSocket()

@rawsocket.on_state_change
def shared(conn, old, new):
    heard.append(new.name)

def create_app():
    app = Flask(__name__)
    app.testing = True
    rawsocket.init_app(app)

    @app.get("/")
    def index():
        return rawsocket.current_conn.key

    return app
"""

MODULE = SHARED + "\napp = create_app()\n"


def run(folder, tests, *options, **files):
    """Run a test suite; return how many tests passed and failed, and its output."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "test_user.py").write_text(tests)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.stdout


def passed(output):
    """Return how many passed; 0 where any did not."""
    found = re.search(r"^(\d+) passed in", output, re.MULTILINE)
    return int(found[1]) if found else 0


def test_apps_of_a_factory(tmp_path):
    """What an application of an earlier test has hooked or set is not heard of in the next one."""
    tests = """
import pytest
from flask import Flask
from flask_rawsocket import RawSocket
from flask_rawsocket._tracking.tracker import process_tracker

kept, heard = [], []

@pytest.fixture(params=[1, 2, 3])
def app(request):
    app = Flask(__name__)
    app.config["RAWSOCKET_HEADER_TIMEOUT"] = 10 + request.param
    if request.param == 3:
        del app.config["RAWSOCKET_HEADER_TIMEOUT"]
    rawsocket = RawSocket(app)
    kept.append(app)  # so that it is not merely gone

    @rawsocket.on_state_change
    def changed(conn, old, new):
        heard.append((request.param, new.name))

    app.add_url_rule("/", view_func=lambda: rawsocket.current_conn.key)
    return app

@pytest.mark.parametrize("times", [1, 2])
def test_each(app, rawsocket_client, times):
    heard.clear()
    assert rawsocket_client.get("/").status_code == 200
    assert {each[0] for each in heard} == {heard[-1][0]}
    expected = app.config.get("RAWSOCKET_HEADER_TIMEOUT", 10.0)
    assert process_tracker.settings.header_timeout == expected
"""
    output = run(tmp_path, tests)
    assert passed(output) == 6, output


@pytest.mark.parametrize(
    "fixture",
    [
        "import user\n    return user.app",  # one for all, imported in the first test
        "import user\n    return user.create_app()",  # a new one, with a RawSocket of the module's
    ],
)
def test_an_app_of_a_module(tmp_path, fixture):
    """Its hooks are heard in every test; those that a test adds are not heard in the next one."""
    source = MODULE if "user.app" in fixture else SHARED
    tests = f"""
import pytest

@pytest.fixture
def app():
    {fixture}

added = []

@pytest.mark.parametrize("times", range(3))
def test_each(rawsocket_client, times):
    import user
    user.heard.clear()
    user.rawsocket.on_state_change(lambda conn, old, new: added.append(times))
    rawsocket_client.get("/")
    rawsocket_client.peer.leave()
    assert user.heard == ["NEW", "ACTIVE", "IDLE", "CLOSED"]
    if times:
        assert set(added) == {{times}}
    added.clear()
"""
    output = run(tmp_path, tests, user=source)
    assert passed(output) == 3, output


def test_a_suite_that_does_not_use_it(tmp_path):
    """Nothing is forgotten between tests that have a server of their own."""
    tests = """
import threading, urllib.request
from flask_rawsocket.serving import make_server
from flask_rawsocket.testing import wait_for

def serve():
    import user
    server = make_server("127.0.0.1", 0, user.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    user.heard.clear()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/") as response:
        assert response.status == 200
    wait_for(lambda: user.heard == ["NEW", "ACTIVE", "CLOSED"], "the hooks")
    server.shutdown()
    thread.join()
    server.server_close()

def test_one():
    serve()

def test_two():
    serve()
"""
    output = run(tmp_path, tests, user=MODULE)
    assert passed(output) == 2, output


def test_server_and_marker(tmp_path):
    """The fixture serves as its marker says, which is known to `--strict-markers`."""
    tests = """
import pytest

@pytest.fixture
def app():
    import user
    return user.app

def test_tcp(rawsocket_server):
    assert rawsocket_server.connect().get("/").text.startswith("127.0.0.1:")

@pytest.mark.rawsocket_server(transport="unix")
def test_unix(rawsocket_server, rawsocket_client):
    assert rawsocket_server.connect().get("/").text.startswith("@")
    assert rawsocket_client.get("/").text.startswith("127.0.0.1:")
"""
    output = run(tmp_path, tests, "--strict-markers", user=MODULE)
    assert passed(output) == 2, output


def test_no_app(tmp_path):
    """Without a fixture of that name pytest says what is missing."""
    output = run(tmp_path, "def test_it(rawsocket_client):\n    pass\n")
    assert "fixture 'app' not found" in output


def test_a_suite_without_flask_rawsocket(tmp_path):
    """The plugin costs other tests nothing: no thread, and no server's module."""
    tests = """
import sys, threading

def test_it():
    assert threading.active_count() == 1
    assert "gunicorn" not in sys.modules
"""
    assert passed(run(tmp_path, tests)) == 1
