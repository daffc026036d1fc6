"""An application with rows, and `flask rawsocket ss`."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import threading

from click.testing import CliRunner
from flask import Flask, Response, abort, redirect, request
from servers import PATIENCE, Client, wait_for

from flask_rawsocket import ConnState, RawSocket, _ss
from flask_rawsocket.cli import rawsocket_command
from flask_rawsocket.serving._server import make_server

MAIN = """
import signal
from flask.cli import main

# A shell's background job, and what it starts, ignores Ctrl-C unless it is told otherwise.
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
COMMAND = [sys.executable, "-c", MAIN, "rawsocket", "ss"]
HEAD = "STATE KEY RECV-Q SEND-Q RTT CWND RETRANS AGE REQUESTS".split()  # noqa: SIM905

ROWS = [
    {
        "state": "ACTIVE",
        "key": "192.0.2.1:1000",
        "queues": {"receive": 5, "send": 70_000, "unsent": 0},
        "tcp": {"rtt": 0.0123, "snd_cwnd": 10, "total_retrans": 3},
        "age": 4.25,
        "requests": 2,
    },
    {
        "state": "IDLE",
        "key": "@77.2",
        "queues": {"receive": 0, "send": None, "unsent": None},
        "tcp": None,
        "age": 3700.0,
        "requests": 1,
    },
    {
        "state": "HIJACKED",
        "key": "192.0.2.1:999",
        "queues": {"receive": 0, "send": 0, "unsent": 0},
        "tcp": {"rtt": 0.2, "snd_cwnd": 4, "total_retrans": 0},
        "age": 90.0,
        "requests": 31,
    },
]


class Site:
    """A small application: its own connections, answers of all kinds, and a view that waits."""

    def __init__(self):
        self.app = Flask(__name__)
        self.rawsocket = RawSocket(self.app)
        self.answer = ROWS
        self.failure = None
        self.release = threading.Event()
        self.holding = []
        self.closed = []
        self.rawsocket.on_state_change(ConnState.CLOSED)(self.note)
        for path, view in {
            "/api/connections": lambda: _ss.snapshot(self.rawsocket.connections),
            "/rows": self.rows,
            "/hold": self.hold,
            "/text": lambda: "hello",
            "/moved": lambda: redirect("/rows"),
            "/broken": lambda: abort(500),
            "/guarded": self.guarded,
        }.items():
            self.app.add_url_rule(path, path, view)

    def rows(self):
        if self.failure is not None:
            abort(self.failure)
        return Response(json.dumps(self.answer), mimetype="application/json")

    def hold(self):
        self.holding.append(self.rawsocket.current_conn)
        self.release.wait(PATIENCE)
        return "held"

    def guarded(self):
        if request.authorization is None or request.authorization.password != "pass word":
            abort(401)
        return self.rows()

    def note(self, conn, _old, _new):
        self.closed.append(_ss.describe(conn))


@contextlib.contextmanager
def serving(host="127.0.0.1", **kwargs):
    site = Site()
    server = make_server(host, 0, site.app, threaded=True, **kwargs)
    site.address = server.server_address
    site.url = None if isinstance(site.address, str) else "http://{}:{}".format(*site.address)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield site
    finally:
        site.release.set()
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def holding(site):
    """A client in the midst of a request to `site`, and its connection."""
    family = socket.AF_UNIX if isinstance(site.address, str) else socket.AF_INET
    with Client(socket.socket(family)) as client:
        client.sock.settimeout(PATIENCE)
        client.sock.connect(site.address)
        client.get("/hold")
        wait_for(lambda: site.holding, "the view")
        yield client, site.holding.pop()


def ss(*args):
    """Run the command here, without a terminal."""
    return CliRunner().invoke(rawsocket_command, ["ss", *args], prog_name="flask rawsocket")


def table(output):
    """Give the cells of a table, its head checked."""
    head, *rows = [line.split() for line in output.splitlines()]
    assert head == HEAD
    return rows


def failure(*args):
    """Give the sentence that the command fails with."""
    result = ss(*args)
    assert result.exit_code == 1, result.output
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert line.endswith(".")
    return line.removeprefix("Error: ")


@contextlib.contextmanager
def answering(data, trickle=b""):
    """A server that answers the first client with these bytes; the URL.

    If there are none it is silent until the client leaves; or a byte of `trickle` comes again and
    again until then.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            sock, _ = listener.accept()
            with sock, contextlib.suppress(ConnectionError):
                sock.recv(65536)
                sock.sendall(data)
                while trickle and not select.select([sock], [], [], 0.02)[0]:
                    sock.sendall(trickle)
                if not data:
                    sock.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield "http://{}:{}/".format(*listener.getsockname())
        thread.join()
