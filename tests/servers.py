"""Real servers in processes of their own, and raw clients to talk to them.

Nothing here waits for time to pass: `wait_for` waits for a condition.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

APPS = Path(__file__).parent / "apps"
EACH_SERVER_ONCE = [("werkzeug", "unix"), ("sync", "tcp"), ("gthread", "tls"), ("gevent", "tcp")]
"""For what depends on clocks and takes seconds: each server, and each transport, once.

What depends on bytes is tested on every server over every transport.
"""
PATIENCE = 20.0
"""How long a condition may take to come true, in seconds; a machine can be busy."""


def wait_for(condition, what="the condition", timeout=PATIENCE):
    """Call `condition` until it gives something true, and return that; fail after `timeout`."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"gave up waiting for {what}; it was {result!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return result


@contextlib.contextmanager
def held_port():
    """Give a TCP port of 127.0.0.1 that is nobody else's while the block runs.

    It refuses connections until a server binds it too, which SO_REUSEADDR lets it do, and listens.
    """
    with bound("127.0.0.1:0") as sock:
        yield sock.getsockname()[1]


def bound(bind):
    """Bind a socket that does not listen: ``127.0.0.1:0``, or ``unix:PATH``."""
    if bind.startswith("unix:"):
        sock, address = socket.socket(socket.AF_UNIX), bind.removeprefix("unix:")
    else:
        sock, (host, port) = socket.socket(), bind.rsplit(":", 1)
        address = host, int(port)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


@dataclass
class Client:
    """A raw client connection; what it is not told to send it does not send."""

    sock: socket.socket
    buffered: bytes = b""

    @classmethod
    def to(cls, address):
        """Connect to the path of a UNIX socket, or to a host and a port."""
        sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        sock.settimeout(PATIENCE)
        try:
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    @property
    def key(self):
        """What the server should call this TCP client."""
        host, port = self.sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def send(self, data):
        self.sock.sendall(data)

    def get(self, path="/", *headers, version="1.1", method="GET", body=b""):
        """Send a request; its answer is for `response` to read."""
        lines = [f"{method} {path} HTTP/{version}", "Host: test", *headers]
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def response(self):
        """Read one response by its framing: the status, the headers, and the body."""
        head, rest = self._until(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
        self.buffered = rest
        if "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            body = self._chunks()
        else:
            body = self.rest()
        return Response(int(status_line.split()[1]), headers, body)

    def request(self, path="/", *headers, **kwargs):
        """Send a request and read its response."""
        self.get(path, *headers, **kwargs)
        return self.response()

    def rest(self):
        """Read to the end."""
        data = self.buffered
        self.buffered = b""
        while chunk := self.sock.recv(65536):
            data += chunk
        return data

    def at_eof(self):
        """Tell whether the server has closed; reads and drops what it may have sent before."""
        with contextlib.suppress(ConnectionError):
            self.rest()
        return True

    def close(self):
        self.sock.close()

    def reset(self):
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _more(self):
        chunk = self.sock.recv(65536)
        if not chunk:
            raise EOFError(self.buffered)
        self.buffered += chunk

    def _until(self, end):
        while end not in self.buffered:
            self._more()
        head, rest = self.buffered.split(end, 1)
        return head, rest

    def _exactly(self, count):
        while len(self.buffered) < count:
            self._more()
        data, self.buffered = self.buffered[:count], self.buffered[count:]
        return data

    def _chunks(self):
        body = b""
        while True:
            line, self.buffered = self._until(b"\r\n")
            size = int(line, 16)
            body += self._exactly(size)
            self._exactly(2)
            if not size:
                return body


@dataclass
class Response:
    """A response as it was on the wire."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class RunningServer:
    """A server in a process of its own, and the record that its application writes."""

    name: str
    transport: str
    addresses: list
    process: subprocess.Popen
    record: Path
    log: Path
    seen: int = field(default=0)

    @property
    def address(self):
        """Where it listens; the first, if it is several addresses."""
        return self.addresses[0]

    @property
    def keeps_alive(self):
        return self.name in ("gthread", "gevent", "gevent_pywsgi", "pywsgi", "waitress")

    def raw(self, source=None):
        """Open a plain client socket, without TLS whatever the transport is."""
        if isinstance(self.address, str):
            sock = socket.socket(socket.AF_UNIX)
        else:
            sock = socket.socket()
            if source is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(source)
        sock.settimeout(PATIENCE)
        try:
            sock.connect(self.address)
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self):
        """Open a client connection, TLS set up where the transport has it."""
        sock = self.raw()
        if self.transport == "tls":
            try:
                sock = client_context().wrap_socket(sock, server_hostname="localhost")
            except BaseException:
                sock.close()
                raise
        return Client(sock)

    def hand_over(self, path):
        """Open a connection and have the view at `path` give it to its owner, who says HELLO."""
        client = self.connect()
        client.get(path)
        line, client.buffered = client._until(b"\n")
        assert line == b"HELLO"
        return client

    def events(self):
        """Give everything that the application has recorded."""
        if not self.record.exists():
            return []
        whole, _, _being_written = self.record.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def mark(self):
        """Leave out of `sequences` whatever has been recorded up to now."""
        self.seen = max((each["id"] for each in self.events() if "id" in each), default=0)

    def sequences(self):
        """Give, for each connection since `mark`, in their order, its states: ``NAIAC``."""
        found = {}
        for each in self.events():
            if "new" in each and each["id"] > self.seen:  # an application records what it likes
                found[each["id"]] = found.get(each["id"], "") + each["new"][0]
        # Hooks of NEW run beside each other, and may be recorded in another order.
        return [found[number] for number in sorted(found)]

    def closed(self):
        """Give the CLOSED events since `mark`."""
        return [
            each for each in self.events() if each.get("new") == "CLOSED" and each["id"] > self.seen
        ]

    def wait_sequences(self, *expected):
        """Wait until these and no other sequences stand in the record."""
        try:
            wait_for(lambda: sorted(self.sequences()) == sorted(expected), "the sequences")
        except AssertionError:
            raise AssertionError(
                f"expected {sorted(expected)}, got {sorted(self.sequences())}\n{self.tail()}"
            ) from None

    def tail(self):
        return self.log.read_text()[-3000:]

    def end(self):
        """End the server when its test is over."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            # The development server has no handler for SIGTERM; coverage's, which it has instead,
            # may wait for a lock that the interrupted code holds.
            if self.name != "werkzeug":
                raise

    def stop(self, how=signal.SIGTERM):
        """End the server by its own process id; give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise


def client_context():
    """Give a TLS context that trusts anybody: the certificate is the test's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


GUNICORN = {
    "sync": "flask_rawsocket.workers.SyncWorker",
    "gthread": "flask_rawsocket.Worker",
    "gevent": "flask_rawsocket.GeventWorker",
    "gevent_pywsgi": "flask_rawsocket.GeventPyWSGIWorker",
    "plain-sync": "sync",
    "plain-gthread": "gthread",
    "plain-gevent": "gevent",
    "plain-gevent_pywsgi": "gevent_pywsgi",
}


def gunicorn(name, transport, binds, certificate, options, app):
    """Give the command that runs gunicorn with the worker `name`."""
    args = ["-m", "gunicorn", "-k", GUNICORN[name], "--access-logfile", "-"]
    args += ["--no-control-socket", "--graceful-timeout", "5", "--keep-alive", "15"]
    if name.endswith("gthread"):
        args += ["--threads", "4"]
    for each in binds:
        args += ["-b", each]
    if transport == "tls":
        certificate, key = certificate
        args += ["--certfile", certificate, "--keyfile", key]
    return [sys.executable, *args, *options, app]


def pywsgi(transport, bind, certificate, app):
    """Give the command that runs gevent's own server."""
    files = certificate if transport == "tls" else ()
    return [sys.executable, str(APPS / "serve_pywsgi.py"), app, bind, *files]


def flask(name, transport, bind, certificate, options, app):
    """Give the command that runs Flask's development server, or ours; it chooses a TCP port."""
    args = ["run"] if name.startswith("plain") else ["rawsocket", "run"]
    args = ["-m", "flask", "--app", app, *args]
    if bind.startswith("unix:"):
        args += ["--host", "unix://" + bind.removeprefix("unix:")]
    else:
        args += ["--host", "127.0.0.1", "--port", "0"]
    if transport == "tls":
        certificate, key = certificate
        args += ["--cert", certificate, "--key", key]
    return [sys.executable, *args, *options]


OTHERS = {
    "bjoern",
    "cheroot",
    "cherrypy",
    "daphne_asgiref",
    "eventlet",
    "eventlet-patched",
    "plain-pywsgi",
    "plain-pywsgi-patched",
    "granian",
    "gunicorn_asgi",
    "hypercorn_wsgi",
    "tornado",
    "uvicorn_a2wsgi",
    "uvicorn_asgiref",
    "uvicorn_wsgi",
    "uwsgi",
    "plain-waitress",
    "plain-waitress-lookahead",
    "waitress",
    "wsgiref",
}
"""What `apps/other_servers.py` runs: servers of other projects, and our waitress."""


RUNNING_ON = re.compile(r"Running on https?://(127\.0\.0\.1):(\d+)")


def logged_address(process, log):
    """Give the address that Werkzeug's log says it has chosen."""

    def find():
        text = log.read_text()
        assert process.poll() is None, f"the server has ended:\n{text[-3000:]}"
        return RUNNING_ON.search(text)

    host, port = wait_for(find, "the server to say its address").groups()
    return host, int(port)


@contextlib.contextmanager
def running(
    name,
    transport,
    folder,
    certificate,
    *options,
    env=(),
    app="contract:app",
    bind=None,
    binds_itself=False,
):
    """Run a server until the block ends; it is ready when the block begins.

    `bind` lists where gunicorn listens: ``127.0.0.1:0`` is a port of its own.  It is given its
    sockets bound, and so cannot find their ports taken; unless it `binds_itself`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    binds = bind or [f"unix:{folder}/s" if transport == "unix" else "127.0.0.1:0"]
    addresses = [each.removeprefix("unix:") for each in binds]
    record, log = folder / "record", folder / "log"
    environ = os.environ | {"CONTRACT_RECORD": str(record), "PYTHONPATH": str(APPS), **dict(env)}
    with log.open("ab") as output, contextlib.ExitStack() as handed_over:
        sockets = []
        is_given_sockets = name in GUNICORN or name == "pywsgi"
        if is_given_sockets:
            if binds_itself and transport != "unix":
                addresses = [("127.0.0.1", handed_over.enter_context(held_port()))]
                binds = [f"127.0.0.1:{port}" for _, port in addresses]
            elif transport != "unix":
                sockets = [handed_over.enter_context(bound(each)) for each in binds]
                addresses = [each.getsockname() for each in sockets]
                binds = [f"fd://{each.fileno()}" for each in sockets]
            if name == "pywsgi":
                command = pywsgi(transport, binds[0], certificate, app)
            else:
                command = gunicorn(name, transport, binds, certificate, options, app)
        elif name in OTHERS:
            command = [sys.executable, str(APPS / "other_servers.py"), name, binds[0], app]
            if transport == "tls":
                environ |= dict(zip(("CERT", "KEY"), certificate, strict=True))
        else:
            command = flask(name, transport, binds[0], certificate, options, app)
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            pass_fds=[each.fileno() for each in sockets],
            start_new_session=True,
        )
    server = RunningServer(name, transport, addresses, process, record, log)
    try:
        if not is_given_sockets and transport != "unix":
            server.addresses = [logged_address(process, log)]
        wait_for(lambda: _answers(server), "the server to answer")
        wait_for(lambda: all(each[-1] == "C" for each in server.sequences()), "quiet")
        yield server
    finally:
        server.end()


def _answers(server):
    if server.process.poll() is not None:
        raise AssertionError(f"the server has ended:\n{server.tail()}")
    try:
        with server.connect() as client:
            return client.request("/", "Connection: close").status
    except (OSError, EOFError):
        return None


def ask(server, path="/"):
    """Ask once on a connection of its own."""
    with server.connect() as client:
        return client.request(path, "Connection: close")


def is_quiet(server):
    """Tell whether nothing is counted, or alive, but the asking connection."""
    answer = ask(server).json
    return (answer["nr_conns"], answer["alive"]) == (1, 1)


def pid_of(server):
    """Return the process that answers."""
    return ask(server).json["pid"]


def is_running(pid):
    """Tell whether there is a process `pid`; one that nobody has waited for is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
