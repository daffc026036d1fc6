"""`flask rawsocket ss`: the rows of a running application, and the table that is made of them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask, Response, abort, redirect, request
from servers import PATIENCE, Client, held_port, wait_for

from flask_rawsocket import ConnState, RawSocket, _ss
from flask_rawsocket._ss import _display, _endpoint, _limited, _table
from flask_rawsocket.cli import rawsocket_command
from flask_rawsocket.serving._server import make_server

ROOT = Path(__file__).parent.parent
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


@pytest.fixture
def site():
    with serving() as site:
        yield site


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


# Rows


def test_describe_tcp(site):
    """A row of a TCP connection has its queues and the kernel's measurements, ready for JSON."""
    with holding(site) as (client, conn):
        row = _ss.describe(conn)
        assert json.loads(json.dumps(row)) == row
        assert (row["id"], row["key"], row["state"]) == (conn.id, client.key, "ACTIVE")
        assert (row["family"], row["is_unix"], row["is_tls"]) == ("AF_INET", False, False)
        assert row["local_address"] == "{}:{}".format(*site.address)
        assert row["queues"] == {"receive": 0, "send": 0, "unsent": 0}
        assert row["tcp"]["state"] == "ESTABLISHED"
        assert 0 < row["tcp"]["rtt"] < PATIENCE
        assert row["tcp"]["bytes_received"] > 0
        assert row["close_reason"] is None


def test_describe_unix(tmp_path):
    """A row of a UNIX connection says that there is no TCP, and of its queues what is known."""
    with serving(f"unix://{tmp_path}/s") as site, holding(site) as (_client, conn):
        row = _ss.describe(conn)
        assert json.loads(json.dumps(row)) == row
        assert row["tcp"] is None
        assert row["queues"] == {"receive": 0, "send": None, "unsent": None}
        assert (row["key"], row["is_unix"]) == (conn.key, True)


def test_describe_in_the_last_moment(site):
    """In a CLOSED hook the kernel still has its say, and the reason is known."""
    with holding(site) as (client, conn):
        site.release.set()
        client.rest()
    # Hooks hear of all connections of the process, the last test's included.
    (row,) = wait_for(lambda: [row for row in site.closed if row["id"] == conn.id], "the hook")
    assert (row["state"], row["close_reason"]) == ("CLOSED", "AFTER_RESPONSE")
    assert row["tcp"]["bytes_received"] > 0


def test_describe_after_the_close(site):
    """A connection that has been closed still makes a row, of what is known without the kernel."""
    with holding(site) as (client, conn):
        site.release.set()
        client.rest()
    wait_for(lambda: conn._sock is None, "the descriptor to be closed")
    row = _ss.describe(conn)
    assert (row["state"], row["queues"], row["tcp"]) == ("CLOSED", None, None)
    assert row["requests"] == 1


def test_snapshot_while_connections_come_and_go(site):
    """A snapshot is never in the way of a connection that ends, nor that in its."""
    done = threading.Event()

    def come_and_go():
        while not done.is_set():
            with Client(socket.create_connection(site.address, timeout=PATIENCE)) as client:
                client.request("/text")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        seen = set()

        def many():
            found = _ss.snapshot(site.rawsocket.connections)
            assert found["pid"] == os.getpid()
            seen.update(row["id"] for row in found["connections"])
            return len(seen) > 10

        wait_for(many, "ten connections")
    finally:
        done.set()
        thread.join()


# The table


def test_table(site):
    """A row is a line; what the system does not tell is a dash."""
    assert table(ss(f"{site.url}/rows").output) == [
        ["ACTIVE", "192.0.2.1:1000", "5", "70000", "12.300ms", "10", "3", "4.2s", "2"],
        ["IDLE", "@77.2", "0", "-", "-", "-", "-", "1h01m", "1"],
        ["HIJACKED", "192.0.2.1:999", "0", "0", "200.000ms", "4", "0", "1m30s", "31"],
    ]


def test_alignment(site):
    """Texts stand to the left and numbers to the right of their column."""
    head, *lines = ss(f"{site.url}/rows").output.splitlines()
    for name in HEAD[1:2]:
        assert all(line[head.index(name) - 1] == " " != line[head.index(name)] for line in lines)
    for name in HEAD[2:]:
        end = head.index(name) + len(name)
        assert all(line[end - 1] != " " and line[end : end + 1] in {"", " "} for line in lines)


def test_empty_table(site):
    """Without connections there is the head alone."""
    site.answer = []
    assert table(ss(f"{site.url}/rows").output) == []


@pytest.mark.parametrize(
    ("names", "states"),
    [
        (["idle"], ["IDLE"]),
        (["HIJACKED", "active"], ["ACTIVE", "HIJACKED"]),
        (["new"], []),
    ],
)
def test_state(site, names, states):
    """`--state` shows only connections in one of the states it was given."""
    options = [each for name in names for each in ("--state", name)]
    assert [row[0] for row in table(ss(f"{site.url}/rows", *options).output)] == states


@pytest.mark.parametrize(
    ("column", "states"),
    [
        ("key", ["ACTIVE", "HIJACKED", "IDLE"]),
        ("state", ["ACTIVE", "HIJACKED", "IDLE"]),
        ("rtt", ["HIJACKED", "ACTIVE", "IDLE"]),
        ("send-q", ["ACTIVE", "HIJACKED", "IDLE"]),
        ("age", ["IDLE", "HIJACKED", "ACTIVE"]),
        ("requests", ["HIJACKED", "ACTIVE", "IDLE"]),
    ],
)
def test_sort(site, column, states):
    """`--sort` puts texts in order and the largest number first; what is not known comes last."""
    rows = table(ss(f"{site.url}/rows", "--sort", column).output)
    assert [row[0] for row in rows] == states


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (59.9, "59.9s"),
        (60, "1m00s"),
        (3599.9, "59m59s"),
        (3600, "1h00m"),
        (86399, "23h59m"),
        (86400, "1d00h"),
        (1e7, "115d17h"),
        (-5, "-5.0s"),
        (-3700, "-1h01m"),
    ],
)
def test_age(site, seconds, text):
    """An age is written in its two largest units."""
    site.answer = [{"age": seconds}]
    assert table(ss(f"{site.url}/rows").output) == [["-"] * 7 + [text, "-"]]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"queues": 5, "tcp": [], "age": "old", "requests": None},
        {"state": 3, "key": {"a": 1}, "requests": True},
        {"age": float("nan"), "requests": float("inf")},
        {"age": 10**400, "tcp": {"rtt": -float("inf")}},
        {"tcp": {"rtt": None}},
    ],
)
def test_rows_of_another_kind(site, row):
    """What is missing or of another type in a row is a dash: no row is refused."""
    site.answer = [row]
    for options in [[], ["--sort", "age"], ["--sort", "key"]]:
        assert table(ss(f"{site.url}/rows", *options).output) == [["-"] * len(HEAD)]


def test_control_characters(site):
    """What came from the network does not steer the terminal."""
    site.answer = [{"state": "NEW", "key": "\x1b[2J\r\nx\u202e\u200b"}]
    assert table(ss(f"{site.url}/rows").output)[0][:2] == ["NEW", "?[2J??x??"]


@pytest.mark.parametrize(
    "document", [ROWS, {"connections": ROWS}, {"pid": 77, "connections": ROWS, "other": None}]
)
def test_documents(site, document):
    """The rows may come alone, or in an object together with other things."""
    site.answer = document
    assert len(table(ss(f"{site.url}/rows").output)) == 3


# Real applications, each way to reach them


def test_live_connections(site):
    """The table shows who is connected, the command's own connection included."""
    with holding(site) as (client, conn):
        rows = {row[1]: row for row in table(ss(f"{site.url}/api/connections").output)}
        assert rows[client.key][0] == "ACTIVE"
        assert re.fullmatch(r"\d+\.\d{3}ms", rows[client.key][4])
        assert int(rows[client.key][5]) == conn.tcp_info().snd_cwnd
        assert len(rows) >= 2


def test_url_without_a_path(site):
    """A URL that is only a host means the default path there."""
    assert table(ss(site.url).output)


def test_default_url():
    """Without a URL it is where the example application is."""
    assert str(_ss.Endpoint()) == "http://127.0.0.1:8000/api/connections"


def test_unix_socket(tmp_path):
    """`--unix-socket` reaches an application that has no port."""
    with serving(f"unix://{tmp_path}/s") as site, holding(site) as (_client, conn):
        output = ss("--unix-socket", site.address, "http://localhost/api/connections").output
        rows = {row[1]: row for row in table(output)}
        assert rows[conn.key][0] == "ACTIVE"
        assert rows[conn.key][3:7] == ["-", "-", "-", "-"]


@pytest.mark.parametrize("unix", [False, True])
def test_tls(tmp_path, certificate, unix):
    """HTTPS works on a port and on a UNIX socket; any certificate is taken when that is asked."""
    host = f"unix://{tmp_path}/s" if unix else "127.0.0.1"
    with serving(host, ssl_context=certificate) as site:
        url = "https://localhost" if unix else site.url.replace("http", "https")
        where = ["--unix-socket", site.address] if unix else []
        assert "--insecure takes any" in failure(url, *where)
        assert table(ss(url, *where, "--insecure").output)


def test_trusted_certificate(certificate, monkeypatch):
    """A certificate that the system trusts needs no option."""
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with serving(ssl_context=certificate) as site:
        assert table(ss("https://localhost:{1}".format(*site.address)).output)


def test_password(site):
    """A user and a password in the URL are sent, and shown to nobody."""
    url = site.url.replace("//", "//me:pass%20word@")
    assert len(table(ss(f"{url}/guarded").output)) == 3
    sentence = failure(f"{url.replace('word', 'port')}/guarded")
    assert sentence == f"{site.url}/guarded answers 401 UNAUTHORIZED."


@pytest.mark.parametrize("transport", ["tcp", "unix", "tls"])
def test_example(run_server, transport):
    """The example application on the thread worker, its connections in several states."""
    with run_server(
        "gthread", transport, app="example_app.app:app", env={"PYTHONPATH": str(ROOT)}
    ) as server:
        if transport == "unix":
            where = ["--unix-socket", server.address]
        else:
            scheme = "https" if transport == "tls" else "http"
            where = ["{}://{}:{}".format(scheme, *server.address), "--insecure"]
        with server.connect(), server.connect() as idle:
            idle.request("/api/connection")

            def states():
                return {row[0] for row in table(ss(*where).output)}

            wait_for(lambda: states() == {"NEW", "IDLE", "ACTIVE"}, "all three states")


def test_without_an_application(site, tmp_path):
    """The command needs no application of its own to be found."""
    env = {key: value for key, value in os.environ.items() if key != "FLASK_APP"}
    command = [*COMMAND, f"{site.url}/rows"]
    out = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert len(table(out.stdout)) == 3
    assert out.stderr == ""


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_without_an_output(site, closed):
    """Where standard output is closed there is nothing to show, which is no failure."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, f"{site.url}/rows"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (out.returncode, out.stdout, out.stderr) == (0, "", "")


def test_watching_without_an_output(monkeypatch):
    """Watched, it shows nothing either, and fails without a word on it."""
    monkeypatch.setattr(sys, "stdout", None)
    display = _ss.display(watching=True)
    display.show(_ss.Page(ROWS, 1))
    display.fail("Nobody answers…")
    display.close()


# Errors


def test_refused():
    """Where nobody listens, the sentence says so."""
    with held_port() as port:
        url = f"http://127.0.0.1:{port}/api/connections"
        assert failure(url) == f"Cannot read {url}: Connection refused."


def test_no_such_socket(tmp_path):
    """Nor behind a path."""
    sentence = failure("--unix-socket", f"{tmp_path}/s")
    assert sentence.endswith(f"by way of {tmp_path}/s: No such file or directory.")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/nowhere", "answers 404 NOT FOUND."),
        ("/broken", "answers 500 INTERNAL SERVER ERROR."),
        ("/moved", "answers 302 FOUND."),
    ],
)
def test_http_error(site, path, what):
    """Any answer but 200 is told."""
    assert failure(site.url + path) == f"{site.url}{path} {what}"


def test_not_json(site):
    """A page is no JSON."""
    assert failure(f"{site.url}/text") == f"What {site.url}/text answers is not JSON."


@pytest.mark.parametrize("document", [{}, 5, None, "rows", [1], {"connections": {"a": {}}}])
def test_no_rows(site, document):
    """JSON may be something else than rows."""
    site.answer = document
    sentence = failure(f"{site.url}/rows")
    assert sentence == f"What {site.url}/rows answers is no list of connections."


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000", "ftp://host/", "http://", "http://host:x/", "http://[::1", "connections"],
)
def test_no_url(url):
    """What is no URL of HTTP is refused before anything is sent."""
    assert failure(url).startswith(f"{url} is no URL ")


@pytest.mark.parametrize("host", ["a..b", "a b", "x" * 70])
def test_no_host(host):
    """A host that cannot be one is told like any other that cannot be reached."""
    assert failure(f"http://{host}/").startswith(f"Cannot read http://{host}/: ")


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


def test_no_http():
    """A server that speaks another protocol is told as it came, but for what steers a terminal."""
    with answering(b"HTTP/\x1b[2J 200 OK\r\n\r\n") as url:
        sentence = failure(url)
    assert sentence.startswith(f"Cannot read {url}: ")
    assert "\x1b" not in sentence


def test_cut_off():
    """An answer that ends too early is no answer."""
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[") as url:
        assert "IncompleteRead" in failure(url)


def test_silence(monkeypatch):
    """A server that does not answer is given up."""
    monkeypatch.setattr(_limited, "_SILENCE", 0.2)
    with answering(b"") as url:
        assert failure(url) == f"Cannot read {url}: timed out."


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-", id="head"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n[", id="body"),
    ],
)
def test_trickle(monkeypatch, data):
    """Nor is one waited for that goes on sending a little, be it of the head or of the body."""
    monkeypatch.setattr(_limited, "_TIME", 0.3)
    with answering(data, trickle=b" ") as url:
        assert failure(url) == f"Cannot read {url}: the answer takes longer than 0.3 seconds."


def test_too_late(monkeypatch):
    """When the time is over, bytes that have arrived since count no more."""
    monkeypatch.setattr(_limited, "_TIME", 0)
    with answering(b"HTTP/1.1 200 OK\r\n\r\n[]") as url:
        assert failure(url) == f"Cannot read {url}: the answer takes longer than 0 seconds."


def test_silence_at_the_end(monkeypatch):
    """The whole answer's time also ends a silence that would have been short enough."""
    monkeypatch.setattr(_limited, "_TIME", 0.2)
    with answering(b"") as url:
        assert failure(url) == f"Cannot read {url}: the answer takes longer than 0.2 seconds."


@pytest.mark.parametrize(
    ("head", "prefix"),
    [
        (b"", b""),
        (b"Content-Length: 2000000\r\n", b""),
        (b"Content-Length: 99999999999999\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"5ffffffffffff\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"-1\r\n"),
    ],
    ids=["until the end", "announced", "announced far too large", "large chunk", "negative chunk"],
)
def test_too_large(monkeypatch, head, prefix):
    """An answer has a limit, whatever length it announces, and no memory is taken for that."""
    monkeypatch.setattr(_limited, "_SIZE", 2**20)
    data = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + prefix + b" " * 2**20
    with answering(data) as url:
        assert failure(url) == f"Cannot read {url}: the answer is larger than 1 MiB."


def test_no_chunk():
    """A chunk cannot have less than no bytes."""
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n[]"
    with answering(data) as url:
        assert failure(url).startswith(f"Cannot read {url}: ")


def test_no_unix_sockets(monkeypatch):
    """Where the system has no UNIX sockets, the option says so."""
    monkeypatch.setattr(_endpoint, "AF_UNIX", -1)
    assert failure("--unix-socket", "/s").endswith("this system has no UNIX sockets.")


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["--watch", "http://127.0.0.1/"], "the URL comes before --watch"),
        (["--watch", "nan"], "nan is no number of seconds"),
        (["--watch", "0"], "0.0 is not in the range"),
        (["--watch", "soon"], "'soon' is not a valid number of seconds"),
        (["--state", "closed"], "'closed' is not one of"),
        (["--sort", "colour"], "'colour' is not one of"),
    ],
)
def test_usage(args, what):
    """An option that makes no sense is a usage error."""
    result = ss(*args)
    assert result.exit_code == 2
    assert what in result.output


# Again and again, and on a terminal


@contextlib.contextmanager
def started(*args, terminal=False, size=(30, 120), **env):
    """The command in a process of its own; without a terminal its output is a pipe.

    The terminal has `size`, lines and columns; pytest-xdist's own is in the environment.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in {"LINES", "COLUMNS"}}
    env = inherited | {"TERM": "xterm-256color"} | env
    reading, writing = pty.openpty() if terminal else os.pipe()
    if terminal:
        termios.tcsetwinsize(writing, size)
    try:
        process = subprocess.Popen(
            [*COMMAND, *args], stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, env=env
        )
    finally:
        os.close(writing)
    try:
        yield Output(process, reading)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(reading)


class Output:
    """What a process writes."""

    def __init__(self, process, descriptor):
        self.process = process
        self.descriptor = descriptor
        self.text = ""

    def until(self, pattern, count=1):
        """Read until `pattern` has come `count` times."""
        while len(re.findall(pattern, self.text)) < count:
            assert self._more(), self.text

    def interrupted(self):
        """Press Ctrl-C between two frames; give the exit code.

        Amid one it may hit coverage's own locks, and the process would hang for that.
        """
        while select.select([self.descriptor], [], [], 0.05)[0]:
            self._more()
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self):
        """Read to the end; give the exit code."""
        while self._more():
            pass
        return self.process.wait(PATIENCE)

    def _more(self):
        ready, _, _ = select.select([self.descriptor], [], [], PATIENCE)
        assert ready, self.text
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:  # a pty whose other end has been closed
            return False
        self.text += data.decode().replace("\r\n", "\n")
        return bool(data)

    @property
    def plain(self):
        """The text without what colours it."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.text)


def test_watch(site):
    """`--watch` shows the table again and again; Ctrl-C ends it, and that is no failure."""
    with started(f"{site.url}/rows", "--watch", "0.1") as out:
        out.until("IDLE", 3)
        assert out.interrupted() == 0
    first, second, *_ = out.text.split("\n\n")
    assert table(first) == table(second)
    assert "Abort" not in out.text
    assert "\x1b" not in out.text


def test_watch_by_default(site):
    """Without a number it is every two seconds: the first table comes at once."""
    with started(f"{site.url}/rows", "--watch") as out:
        out.until("HIJACKED")
        assert out.interrupted() == 0


def test_watch_goes_on(site):
    """While it is watched an application may fail, and come back."""
    with started(f"{site.url}/rows", "--watch", "0.1") as out:
        out.until("IDLE")
        site.failure = 503
        out.until("answers 503 SERVICE UNAVAILABLE")
        site.answer, site.failure = [{"key": "back"}], None
        out.until("back")
        assert out.interrupted() == 0


def test_watch_nothing():
    """Where there is nothing from the start, there is nothing to wait for."""
    with held_port() as port:
        assert "Connection refused" in failure(f"http://127.0.0.1:{port}/", "--watch", "0.1")


def test_terminal(site):
    """On a terminal the table is coloured, and says how many connections there are, and whose."""
    site.answer = {"pid": 4711, "connections": ROWS}
    with started(f"{site.url}/rows", terminal=True) as out:
        assert out.end() == 0
    assert "\x1b[" in out.text
    head, *rows, caption = [line.split() for line in out.plain.splitlines()]
    assert [name.upper() for name in head] == HEAD
    assert rows[0] == "ACTIVE 192.0.2.1:1000 5 70000 12.300ms 10 3 4.2s 2".split()  # noqa: SIM905
    assert " ".join(caption) == "3 connections of process 4711"


def test_terminal_without_a_process(site):
    """Where the application does not say whose they are, neither does the table."""
    site.answer = [{"key": "[bold]x[/bold]"}]
    with started(f"{site.url}/rows", terminal=True) as out:
        assert out.end() == 0
    assert out.plain.splitlines()[-1].strip() == "1 connection"
    assert "[bold]x[/bold]" in out.plain


@pytest.mark.parametrize("pid", [True, -3, 0, "x"])
def test_no_process(site, pid):
    """What is no number of a process is not shown as one."""
    site.answer = {"pid": pid, "connections": ROWS}
    with started(f"{site.url}/rows", terminal=True) as out:
        assert out.end() == 0
    assert out.plain.splitlines()[-1] == "3 connections"


LONG = "[2001:db8:1111:2222:3333:4444:5555:6666]:54321->[2001:db8::1]:8001"


@pytest.mark.parametrize("watch", [[], ["-w", "0.1"]])
def test_narrow_terminal(site, watch):
    """Where there is little room only the keys are shortened: no head, state or number is."""
    site.answer = [{**row, "key": LONG} for row in ROWS]
    with started(f"{site.url}/rows", *watch, terminal=True, size=(30, 80)) as out:
        out.until("3 connections")
        assert (out.interrupted() if watch else out.end()) == 0
    head, *rows = out.plain.replace("\x1b[?25l", "").splitlines()[:4]
    assert head.split() == HEAD
    assert [row.split() for row in rows] == [
        ["ACTIVE", "[2001…:8001", "5", "70000", "12.300ms", "10", "3", "4.2s", "2"],
        ["IDLE", "[2001…:8001", "0", "-", "-", "-", "-", "1h01m", "1"],
        ["HIJACKED", "[2001…:8001", "0", "0", "200.000ms", "4", "0", "1m30s", "31"],
    ]
    assert max(map(len, [head, *map(str.rstrip, rows)])) == 80


def test_too_narrow_terminal(site):
    """Where there is still less, the lines are longer than the terminal's, and nothing is lost."""
    site.answer = [{**ROWS[0], "key": LONG}]
    with started(f"{site.url}/rows", terminal=True, size=(30, 40)) as out:
        assert out.end() == 0
    (row,) = table("\n".join(out.plain.splitlines()[:2]))
    assert row == ["ACTIVE", "[20…8001", "5", "70000", "12.300ms", "10", "3", "4.2s", "2"]


@pytest.mark.parametrize("width", [20, 75, 80, 100, 141, 142, 200])
def test_width(width):
    """A line is as wide as it may be, or as it must be; a pipe's lines have all there is."""
    rows = [{**row, "key": LONG} for row in ROWS]
    whole = list(_table.lines(rows))
    assert all(LONG in line for line in whole[1:])
    widest = max(map(len, whole))
    narrowest = widest - len(LONG) + _table._SHORTEST_KEY
    expected = min(max(width, narrowest), widest)
    assert max(map(len, _table.lines(rows, width))) == expected


@pytest.mark.parametrize("with_rich", [True, False])
def test_watch_more_than_a_screen(site, tmp_path, with_rich):
    """Of more rows than the screen has lines the first are shown, and how many more there are."""
    env = {} if with_rich else hiding_rich(tmp_path)
    site.answer = {"pid": 4711, "connections": [{"key": f"@7.{n}"} for n in range(300)]}
    with started(f"{site.url}/rows", "-w", "0.1", terminal=True, size=(10, 80), **env) as out:
        out.until("connections of process", 3)
        assert out.interrupted() == 0
    shown = 8 if with_rich else 7  # without Rich the cursor has a line of its own
    assert f"… {300 - shown} more: 300 connections of process 4711" in out.plain
    assert f"@7.{shown - 1} " in out.plain
    assert f"@7.{shown} " not in out.plain


class Unread(dict):
    """A row that nobody may look at."""

    def get(self, name):
        raise AssertionError(name)


def test_rows_beyond_the_screen_cost_nothing(monkeypatch, capsys):
    """Watching thirty thousand rows takes no longer than watching a screen of them."""
    monkeypatch.setenv("LINES", "10")
    shown = _display._RichDisplay(watching=True)
    with contextlib.closing(shown):
        shown.show(_table.Page([{"key": "seen"}] * 8 + [Unread()] * 30_000, None))
    assert capsys.readouterr().out.count("seen") == 8


def test_many_rows(site):
    """Without watching all rows are shown, also on a terminal that is smaller."""
    site.answer = [{"key": f"@7.{number}", "state": "IDLE"} for number in range(3000)]
    with started(f"{site.url}/rows", terminal=True, size=(10, 80)) as out:
        assert out.end() == 0
    assert len(re.findall(r"@7\.\d+ ", out.plain)) == 3000
    assert out.plain.splitlines()[-1] == "3000 connections"


@pytest.mark.parametrize("with_rich", [True, False])
def test_locale(site, tmp_path, with_rich):
    """Where the locale has little more than ASCII, nothing else is written."""
    env = {"PYTHONIOENCODING": "ascii"} | ({} if with_rich else hiding_rich(tmp_path))
    site.answer = [{"key": LONG}] * 300
    with started(
        f"{site.url}/rows?\u00e4", "-w", "0.1", terminal=True, size=(10, 60), **env
    ) as out:
        out.until(r"\[20\+8001")
        out.until(r"\+ 29\d more: 300 connections")
        site.failure = 503
        out.until(r"rows\?\\xe4 answers 503 SERVICE")
        assert out.interrupted() == 0
    assert out.text.isascii()
    assert "Traceback" not in out.text


def test_watch_on_a_terminal(site):
    """There a table takes the place of the one before, and the cursor is back at the end."""
    with started(f"{site.url}/rows", "-w", "0.1", terminal=True) as out:
        out.until("3 connections", 3)
        site.failure = 503
        out.until("answers 503")
        assert out.interrupted() == 0
    assert "\x1b[1A" in out.text  # a line up
    assert out.text.rindex("\x1b[?25h") > out.text.rindex("\x1b[?25l")


def hiding_rich(folder):
    """The environment of a process in which Rich is not installed."""
    (folder / "rich").mkdir()
    (folder / "rich" / "__init__.py").write_text("raise ModuleNotFoundError('no rich here')\n")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def without_rich(tmp_path):
    return hiding_rich(tmp_path)


def test_terminal_without_rich(site, without_rich):
    """Without Rich a terminal gets the plain table."""
    with started(f"{site.url}/rows", terminal=True, **without_rich) as out:
        assert out.end() == 0
    assert "\x1b" not in out.text
    assert len(table(out.text)) == 3


def test_watch_on_a_terminal_without_rich(site, without_rich):
    """And a clear screen for each."""
    with started(f"{site.url}/rows", "-w", "0.1", terminal=True, **without_rich) as out:
        out.until(r"\x1b\[2J", 3)
        assert out.interrupted() == 0


def test_dumb_terminal(site):
    """A terminal that can do nothing gets the plain table."""
    with started(f"{site.url}/rows", terminal=True, TERM="dumb") as out:
        assert out.end() == 0
    assert len(table(out.text)) == 3


def test_forced_colours(site):
    """A pipe gets the plain table, whatever the environment says of colours."""
    with started(f"{site.url}/rows", FORCE_COLOR="1") as out:
        assert out.end() == 0
    assert "\x1b" not in out.text
    assert len(table(out.text)) == 3
