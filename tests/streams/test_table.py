"""The table of docs/streaming.md, "Where a thread is held": what the servers do, row by row."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from servers import APPS

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "streaming.md"
PATHS = ("/live/where", "/live/where?events", "/live/where/websocket")


def row(name):
    """Return the cells of the row whose first one begins so, without the first."""
    text = PAGE.read_text().split("## Where a thread is held")[1]
    rows = [line.strip("| \n").split(" | ") for line in text.splitlines() if line[:1] == "|"]
    found = [cells for first, *cells in rows if first.startswith(name)]
    assert len(found) == 1, f"{len(found)} rows begin with {name}"
    return found[0]


def cells(bodies):
    """Return the cells that the answers make."""
    stream, events, websocket = bodies
    assert re.sub("^data: |\n", "", events) == stream
    return [stream, websocket]


def ask(server, path, version):
    with server.connect() as client:
        client.get(path, "Connection: close", version=version)
        response = client.response() if version == "1.1" else None
        body = response.body if response else client.rest().split(b"\r\n\r\n", 1)[1]
    return body.decode()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_ours(live, version):
    """HTTP/1.0 and 1.1 on the servers of this package; a WebSocket needs 1.1."""
    bodies = [ask(live, path, version) for path in PATHS]
    if version == "1.0":
        bodies[2] = "no thread"  # which HTTP refuses by itself: test_websocket.py
    assert cells(bodies) == row("`flask_rawsocket` workers and `flask rawsocket run`")
    live.wait_sequences(*["NAHC"] * 2, "NAC")


@pytest.mark.slow
def test_http2(run_server):
    """HTTP/2."""
    pytest.importorskip("h2")
    with run_server("gthread", "tls", "--http-protocols", "h2,h1", app="live:app") as server:
        host, port = server.address
        bodies = [
            subprocess.run(
                ["curl", "-sfk", "--http2", "-m", "10", f"https://{host}:{port}{path}"],
                check=True,
                capture_output=True,
                text=True,
                timeout=30,
            ).stdout
            for path in PATHS
        ]
    assert cells(bodies) == row("the same, HTTP/2")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain-gthread", "plain-sync", "plain-werkzeug"])
def test_plain(running_servers, name):
    """Servers that are not ours."""
    server = running_servers(name, "tcp", "live:app")
    bodies = [ask(server, path, "1.1") for path in PATHS]
    assert cells(bodies) == row("gunicorn `gthread` and `sync`, `flask run`")


def test_test_client(tmp_path):
    """Flask's test client, in a process that has the application to itself."""
    program = (
        "from live import app\n"
        f"for path in {PATHS}: print(app.test_client().get(path).text.strip())\n"
    )
    env = {"CONTRACT_RECORD": str(tmp_path / "record"), "PYTHONPATH": str(APPS)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | env,
    )
    assert done.returncode == 0, done.stderr
    assert cells(done.stdout.splitlines()) == row("Flask's test client")
