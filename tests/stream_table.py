"""Where a stream holds a thread: every server is asked, and the table of the docs says it.

``python tests/stream_table.py`` asks them all and writes the table of docs/streaming.md, between
its two marks. ``streams/test_table.py`` asks the same, and fails where the docs say something else.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from certificates import make_certificate
from conftest import SERVERS, TRANSPORTS
from servers import APPS, running

PAGE = Path(__file__).parents[1] / "docs" / "streaming.md"
MARKED = re.compile(
    r"(?<=<!-- python tests/stream_table.py -->\n\n).*(?=\n\n<!-- end -->)", re.DOTALL
)
HEAD = "| Server | `stream()`, `events()` | `websocket()` |\n|---|---|---|"
OURS = (
    "`flask_rawsocket` workers and `flask rawsocket run`, HTTP/1.0 and 1.1, over TCP, UNIX sockets "
    "and TLS"
)
HTTP2 = "the same, HTTP/2"
PLAIN = "gunicorn `gthread` and `sync`, `flask run`"
TEST_CLIENT = "Flask's test client"
PLAIN_SERVERS = ["plain-gthread", "plain-sync", "plain-werkzeug"]
HTTP2_OPTIONS = ("--http-protocols", "h2,h1")
PATHS = ("/live/where", "/live/where?events", "/live/where/websocket")


def of_server(server, version="1.1"):
    """Return the two cells of a server: what `stream` and `events` hold, and a WebSocket."""
    bodies = []
    for path in PATHS:
        with server.connect() as client:
            client.get(path, "Connection: close", version=version)
            response = client.response() if version == "1.1" else None
            body = response.body if response else client.rest().split(b"\r\n\r\n", 1)[1]
        bodies.append(body.decode())
    if version == "1.0":
        bodies[2] = "no thread"  # which HTTP refuses by itself: test_websocket.py
    return _cells(bodies)


def of_http2(server):
    """Return them of a server that is asked over HTTP/2."""
    host, port = server.address
    command = ["curl", "-sfk", "--http2", "-m", "10"]
    urls = [f"https://{host}:{port}{path}" for path in PATHS]
    return _cells([_output([*command, url], os.environ) for url in urls])


def of_test_client(folder):
    """Return them of Flask's test client, in a process that has the application to itself."""
    program = (
        "from live import app\n"
        f"for path in {PATHS}: print(app.test_client().get(path).text.strip())\n"
    )
    env = os.environ | {"CONTRACT_RECORD": str(folder / "record"), "PYTHONPATH": str(APPS)}
    return _cells(_output([sys.executable, "-c", program], env).splitlines())


def _output(command, env):
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=30, env=env
    ).stdout


def _cells(bodies):
    stream, events, websocket = bodies
    assert re.sub("^data: |\n", "", events) == stream
    return stream, websocket


def written():
    """Return the rows of the table in the docs: the cells by their title."""
    head, *lines = MARKED.search(PAGE.read_text())[0].split("|---|---|---|\n")
    assert head == HEAD.split("|---", maxsplit=1)[0], head
    rows = [line.strip("| ").split(" | ") for line in "".join(lines).splitlines()]
    return {title: tuple(cells) for title, *cells in rows}


def _asked(folder):
    """Ask every server; yield rows, of which those of one title must be the same."""
    certificate = make_certificate(folder)

    def started(name, transport, *options):
        place = folder / f"{name}-{transport}-{len(options)}"
        return running(name, transport, place, certificate, *options, app="live:app")

    for name in SERVERS:
        for transport in TRANSPORTS:
            with started(name, transport) as server:
                for version in ("1.0", "1.1"):
                    yield OURS, of_server(server, version)
    with started("gthread", "tls", *HTTP2_OPTIONS) as server:
        yield HTTP2, of_http2(server)
    for name in PLAIN_SERVERS:
        with started(name, "tcp") as server:
            yield PLAIN, of_server(server)
    yield TEST_CLIENT, of_test_client(folder)


def main():
    """Write the table."""
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        for title, cells in _asked(Path(name)):
            assert rows.setdefault(title, cells) == cells, f"{title}: {rows[title]}, but {cells}"
    table = "\n".join(
        [HEAD, *(f"| {' | '.join([title, *cells])} |" for title, cells in rows.items())]
    )
    PAGE.write_text(MARKED.sub(lambda _: table, PAGE.read_text()))


if __name__ == "__main__":
    main()
