"""What holds for the thread and the sync worker alike, in real gunicorn processes."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time

import gunicorn
import pytest
from gunicorn.config import Config
from servers import EACH_SERVER_ONCE, Client, ask, client_context, wait_for

from flask_rawsocket.workers import SyncWorker, ThreadWorker

pytestmark = pytest.mark.slow

SECONDS = 1.0
"""The header timeout of the servers here that have a short one."""

SHORT = {"CONTRACT_RAWSOCKET_HEADER_TIMEOUT": str(SECONDS)}


@pytest.fixture(params=["sync", "gthread", "gevent"])
def worker(request):
    """The name of each of the workers."""
    return request.param


def reach(address, source=None):
    """Open a client connection to an address that is not the server's first."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        if source is not None:
            sock.bind(source)
    else:
        sock = socket.socket()
        if source is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(source)
    sock.settimeout(20)
    sock.connect(address)
    return Client(sock)


def try_ask(server):
    """Ask once; None where nobody answers at the moment."""
    try:
        return ask(server)
    except (OSError, EOFError):
        return None


def configured(folder, text):
    """Give the options for a configuration file that says `text`."""
    path = folder / "conf.py"
    path.write_text(text)
    return "-c", str(path)


def shutdowns(server):
    return [each for each in server.events() if each.get("shutdown")]


def drip(client, seconds, data=b"X-Dribble: 1\r\n", pause=0.1):
    """Send a byte now and then until the server closes; return what it said, and when."""
    started = time.monotonic()
    client.sock.settimeout(pause)
    said, number = b"", 0
    while time.monotonic() - started < seconds:
        try:
            client.sock.sendall(data[number % len(data)].to_bytes())
            number += 1
            chunk = client.sock.recv(4096)
        except TimeoutError:
            continue
        except OSError:
            break
        if not chunk:
            break
        said += chunk
    return said, time.monotonic() - started


@pytest.mark.slow
class TestListeners:
    """Several addresses at once."""

    def test_two_ports(self, run_server, worker):
        """The same client address and port on two listeners has two keys, the later the longer."""
        with run_server(worker, bind=["127.0.0.1:0", "127.0.0.1:0"]) as server:
            two = server.addresses[1][1]
            server.mark()
            first = Client(server.raw(("127.0.0.1", 0)))
            source = first.sock.getsockname()
            with first:
                if worker == "gthread":
                    assert first.request().json["key"] == first.key
                    with reach(("127.0.0.1", two), source) as second:
                        answer = second.request().json
                        assert answer["key"] == f"{first.key}->127.0.0.1:{two}"
                        assert answer["alive"] == 2
                    wait_for(lambda: first.request().json["alive"] == 1, "the second to be gone")
                    assert first.request().json["key"] == first.key
                else:  # one at a time: nothing else of that name is alive
                    assert first.request("/", "Connection: close").json["key"] == first.key
                    key = first.key
                    first.reset()
                    server.wait_sequences("NAC")
                    with reach(("127.0.0.1", two), source) as second:
                        assert second.request().json["key"] == key

    def test_closing_one_of_a_name_leaves_the_other(self, run_server):
        """The first of two connections of one name goes; the second keeps its longer key."""
        with run_server("gthread", bind=["127.0.0.1:0", "127.0.0.1:0"]) as server:
            two = server.addresses[1][1]
            first = Client(server.raw(("127.0.0.1", 0)))
            key = first.key
            assert first.request().json["key"] == key
            with reach(("127.0.0.1", two), first.sock.getsockname()) as second:
                assert second.request().json["key"] == f"{key}->127.0.0.1:{two}"
                first.close()
                wait_for(lambda: second.request().json["alive"] == 1, "the first to be gone")
                assert second.request().json["key"] == f"{key}->127.0.0.1:{two}"

    def test_tcp_and_unix(self, run_server, worker, tmp_path):
        """A port and a path at once: each peer has the kind of key that is its own."""
        path = str(tmp_path / "s")
        with run_server(worker, bind=["127.0.0.1:0", f"unix:{path}"]) as server:
            with server.connect() as client:
                answer = client.request("/", "Connection: close").json
                assert (answer["key"], answer["is_unix"]) == (client.key, False)
            with reach(path) as client:
                answer = client.request("/", "Connection: close").json
                assert answer["is_unix"]
                assert re.fullmatch(rf"@{answer['pid']}\.\d+", answer["key"])


@pytest.mark.slow
class TestProcess:
    """Starting, stopping and replacing workers."""

    def test_preload(self, run_server, worker):
        """An application loaded before the fork has its hooks and its connections all the same."""
        with run_server(worker, "tcp", "--preload") as server:
            wait_for(lambda: ask(server).json["alive"] == 1, "the former ones to be gone")
            wait_for(lambda: all(each[-1] == "C" for each in server.sequences()), "quiet")
            server.mark()
            assert ask(server).status == 200
            server.wait_sequences("NAC")

    def test_reload(self, run_server, worker, tmp_path):
        """A module that changes brings a new worker, which answers."""
        module = tmp_path / "touched.py"
        module.write_text("")
        options = ["--reload", "--reload-engine", "poll", "--reload-extra-file", str(module)]
        with run_server(worker, "tcp", *options) as server:
            pid = ask(server).json["pid"]

            def is_new():
                os.utime(module)  # again and again: its time is first noted after the start
                answer = try_ask(server)
                return answer is not None and answer.json["pid"] != pid

            wait_for(is_new, "a new worker")

    def test_max_requests(self, run_server, worker):
        """A worker that has had its requests makes room for another, and loses none."""
        with run_server(worker, "tcp", "--max-requests", "3") as server:
            pids = [ask(server).json["pid"] for _ in range(8)]
            assert len(set(pids)) >= 3
            wait_for(lambda: len(shutdowns(server)) >= 2, "the old workers to have said goodbye")
            assert "Traceback" not in server.log.read_text()

    def test_two_workers(self, run_server, worker):
        """Each worker has a map of its own."""
        with run_server(worker, "tcp", "-w", "2") as server:
            alive = {}

            def become(*expected):
                answer = ask(server).json
                alive[answer["pid"]] = answer["alive"]
                return sorted(alive.values()) == sorted(expected)

            wait_for(lambda: become(1, 1), "both to have the asking connection only")
            if worker == "sync":
                return  # one at a time: there is no other
            with server.connect() as client:
                pid = client.request().json["pid"]
                wait_for(lambda: become(1, 2) and alive[pid] == 2, "its worker to have another")

    def test_term(self, run_server, worker):
        """A graceful stop: the request in hand is answered, the idle told, all in order."""
        with run_server(worker, "tcp", "--graceful-timeout", "3") as server:
            server.mark()
            with server.connect() as idle, server.connect() as busy:
                if worker == "gthread":
                    idle.request()
                    wait_for(lambda: server.sequences().count("NAI") == 1, "IDLE")
                else:
                    idle.close()
                busy.get("/slow?seconds=1", "Connection: close")
                wait_for(lambda: "NA" in server.sequences(), "ACTIVE")
                server.process.send_signal(signal.SIGTERM)
                answer = busy.response()
                assert (answer.status, answer.json["requests"]) == (200, 1)
                if worker == "gthread":
                    assert idle.rest() == b""
            assert server.process.wait(20) == 0
            assert len(shutdowns(server)) == 1
            reasons = sorted(each["reason"] for each in server.closed())
            expected = ["AFTER_RESPONSE", "SHUTDOWN" if worker == "gthread" else "CLIENT"]
            assert reasons == expected
            assert "Traceback" not in server.log.read_text()

    def test_quit(self, run_server):
        """A quick stop: what is open is closed, with its hooks, and nothing fails."""
        with run_server("gthread") as server:
            server.mark()
            with server.connect() as client:
                client.request()
                wait_for(lambda: server.sequences() == ["NAI"], "IDLE")
                assert server.stop(signal.SIGQUIT) == 0
            (event,) = server.closed()
            assert (event["usable"], event["reason"]) == (True, "SHUTDOWN")
            assert len(shutdowns(server)) == 1
            assert "Traceback" not in server.log.read_text()

    def test_quit_amid_a_request(self, run_server, worker):
        """A quick stop of the worker while a view is running: its connection ends by the stop."""
        with run_server(worker) as server:
            server.mark()
            pid = ask(server).json["pid"]
            server.wait_sequences("NAC")
            server.mark()
            with server.connect() as client:
                client.get("/slow?seconds=2")
                wait_for(lambda: server.sequences() == ["NA"], "ACTIVE")
                os.kill(pid, signal.SIGQUIT)
                assert client.at_eof()
            server.wait_sequences("NAC")
            assert [each["reason"] for each in server.closed()] == ["SHUTDOWN"]

    def test_quit_amid_a_head(self, run_server, worker):
        """A quick stop while a head is being read: the hooks hear of both ends."""
        with run_server(worker) as server:
            server.mark()
            with server.connect() as client:
                client.send(b"G")
                wait_for(lambda: server.sequences() == ["NA"], "ACTIVE")
                assert server.stop(signal.SIGQUIT) == 0
            assert server.sequences() == ["NAC"]
            assert len(shutdowns(server)) == 1

    def test_hup(self, run_server, worker):
        """New workers answer; the old one's connections are closed as by a stop."""
        with run_server(worker, "tcp", "--graceful-timeout", "3") as server:
            server.mark()
            pid = ask(server).json["pid"]
            server.wait_sequences("NAC")
            with server.connect() as client:
                if worker == "gthread":
                    client.request()
                server.process.send_signal(signal.SIGHUP)
                if worker == "gthread":
                    assert client.rest() == b""
            wait_for(
                lambda: (answer := try_ask(server)) and answer.json["pid"] != pid, "a new worker"
            )
            wait_for(lambda: len(shutdowns(server)) == 1, "the old worker's goodbye")
            if worker == "gthread":
                assert "SHUTDOWN" in [each["reason"] for each in server.closed()]
            assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
class TestConfiguration:
    """What a configuration file may do."""

    def test_the_application(self, run_server, worker, tmp_path):
        """`worker.wsgi` has the attributes of the application."""
        options = configured(
            tmp_path,
            "def post_worker_init(worker):\n"
            "    worker.log.info('%s, %s', worker.wsgi.name, worker.wsgi.config['SAID'])\n",
        )
        with run_server(worker, "tcp", *options, env={"CONTRACT_SAID": "so"}) as server:
            assert "contract, so" in server.log.read_text()

    def test_a_failing_ssl_context(self, run_server, worker, tmp_path):
        """It costs the connections that come meanwhile, and is logged."""
        broken = tmp_path / "broken"
        options = configured(
            tmp_path,
            "import pathlib\n"
            "def ssl_context(conf, default):\n"
            f"    if pathlib.Path({str(broken)!r}).exists():\n"
            "        raise LookupError('a hook that fails')\n"
            "    return default()\n",
        )
        with run_server(worker, "tls", *options) as server:
            pid = ask(server).json["pid"]
            broken.touch()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                server.connect()
            broken.unlink()
            wait_for(lambda: "LookupError: a hook that fails" in server.log.read_text(), "the log")
            assert ask(server).json["pid"] == pid
            wait_for(lambda: server.sequences().count("NC") == 1, "it to be closed")


@pytest.mark.slow
class TestSlowHooks:
    """Hooks that take longer than the header timeout, which is the client's."""

    @pytest.mark.parametrize(
        ("worker", "transport", "state"),
        [
            ("sync", "tcp", "NEW"),
            ("sync", "tls", "NEW"),
            ("sync", "tls", "ACTIVE"),
            ("gthread", "tcp", "ACTIVE"),
        ],
    )
    def test_before_the_head(self, run_server, worker, transport, state):
        """A head that comes in two segments, in time, is answered."""
        env = {
            "CONTRACT_RAWSOCKET_HEADER_TIMEOUT": "0.4",
            "CONTRACT_SLOW_STATE": state,
            "CONTRACT_SLOW_SECONDS": "0.5",
        }
        with run_server(worker, transport, env=env) as server:
            server.mark()
            with server.connect() as client:
                client.send(b"GET / HTTP/1.1\r\nConnection: close\r\n")
                wait_for(lambda: server.sequences() == ["NA"], "ACTIVE")
                client.send(b"Host: a\r\n\r\n")
                assert client.response().status == 200


@pytest.fixture(scope="module")
def impatient(run_server):
    """Servers with a header timeout of a second, started when first asked for."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(name, transport):
            if (name, transport) not in started:
                context = run_server(name, transport, env=SHORT)
                started[name, transport] = stack.enter_context(context)
            started[name, transport].mark()
            return started[name, transport]

        yield get


CLOCKS = pytest.mark.parametrize(("worker", "transport"), EACH_SERVER_ONCE[1:])
"""Each worker over one transport: it is the same clock."""


@pytest.mark.slow
class TestHeaderTimeout:
    """A head that comes too slowly."""

    @CLOCKS
    def test_dribbled_head(self, impatient, worker, transport):
        """It is answered with 408 and closed, though bytes keep coming."""
        server = impatient(worker, transport)
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\n")
            said, seconds = drip(client, 10)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert SECONDS * 0.9 <= seconds < 6
        server.wait_sequences("NAC")
        assert server.closed()[0]["reason"] == "ERROR"
        assert ask(server).status == 200

    def test_dribbled_handshake(self, impatient, worker):
        """A TLS handshake is part of what must come in time; there is no answer to it."""
        server = impatient(worker, "tls")
        with Client(server.raw()) as client:
            client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            said, seconds = drip(client, 10, bytes(32))
        assert said == b""
        assert SECONDS * 0.9 <= seconds < 6
        server.wait_sequences("NC")
        assert ask(server).status == 200

    def test_silent_tls_client(self, impatient, worker):
        """A client that does not begin its handshake is let go, and others are served."""
        server = impatient(worker, "tls")
        with Client(server.raw()), Client(server.raw()) as other:
            other.sock.settimeout(8)
            other.sock = client_context().wrap_socket(other.sock, server_hostname="localhost")
            assert other.request("/", "Connection: close").status == 200

    def test_a_slow_handshake_leaves_the_head_less_time(self, run_server, worker):
        """The clock runs from the first byte of the handshake, not anew from its end."""
        env = {"CONTRACT_RAWSOCKET_HEADER_TIMEOUT": "3"}
        with run_server(worker, "tls", env=env) as server:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
            with Client(server.raw()) as client:
                with pytest.raises(ssl.SSLWantReadError):
                    tls.do_handshake()
                hello = outgoing.read()
                client.send(hello[:1])
                began = time.monotonic()
                rest = iter(hello[1:])
                # Two seconds of the three for the handshake, a byte now and then.
                wait_for(
                    lambda: (
                        client.send(next(rest).to_bytes()),
                        time.monotonic() - began > 2,
                    )[1],
                    "two seconds of dribbling",
                )
                client.send(bytes(rest))
                while True:
                    incoming.write(client.sock.recv(65536))
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        continue
                tls.write(b"GET / HTTP/1.1\r\n")
                client.send(outgoing.read())
                client.at_eof()
                assert time.monotonic() - began < 4.5

    @CLOCKS
    def test_garbage_and_no_leaving(self, impatient, worker, transport):
        """A client that stays after its 400 is let go, and the process is the same afterwards."""
        server = impatient(worker, transport)
        pid = ask(server).json["pid"]
        server.wait_sequences("NAC")
        server.mark()
        with server.connect() as client:
            client.send(b"garbage\r\n\r\n")
            assert client.rest().startswith(b"HTTP/1.1 400 ")
            server.wait_sequences("NAC")
            assert ask(server).json["pid"] == pid

    @CLOCKS
    def test_a_slow_body_is_none_of_its_business(self, impatient, worker, transport):
        """Once the head is there a body may take longer than the head might have."""
        server = impatient(worker, transport)
        with server.connect() as client:
            body = b"x" * 15
            client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n")
            began = time.monotonic()
            rest = list(body)

            def dripped():
                if time.monotonic() - began > SECONDS * 1.3:
                    return True
                if len(rest) > 1:
                    client.send(rest.pop().to_bytes())
                return False

            wait_for(dripped, "the header timeout to have passed")
            client.send(bytes(rest))
            assert client.response().json == {"length": 15}


@pytest.fixture(scope="module", params=["sync", "gthread", "gevent"])
def nameless(request, run_server):
    """A server that leaves REMOTE_ADDR as gunicorn has it."""
    env = {"CONTRACT_RAWSOCKET_UNIX_REMOTE_ADDR": "false"}
    with run_server(request.param, "unix", env=env) as server:
        yield server


class TestUnixPeers:
    """What a UNIX peer is called, in views, in logs and where requests fail."""

    @pytest.fixture
    def unix(self, worker, shared_servers):
        found = shared_servers(worker, "unix")
        found.mark()
        return found

    def test_in_the_view(self, unix):
        """REMOTE_ADDR is the key."""
        answer = ask(unix).json
        assert answer["remote_addr"] == answer["key"]
        assert answer["remote_addr_type"] == "str"

    def test_in_the_environ(self, worker, transport, shared_servers):
        """PEP 3333's own check finds nothing amiss, whatever the transport is."""
        answer = ask(shared_servers(worker, transport), "/environ").json
        assert answer == {"complaint": None}

    def test_in_the_access_log(self, unix):
        """`%(h)s` is the key."""
        key = ask(unix).json["key"]
        wait_for(lambda: f"\n{key} - - [" in unix.log.read_text(), "the line in the access log")

    def test_in_the_error_path(self, unix):
        """Garbage is answered with 400 and logged with the key, whole."""
        with unix.connect() as client:
            client.send(b"garbage\r\n\r\n")
            assert client.rest().startswith(b"HTTP/1.1 400 ")
        (event,) = wait_for(unix.closed, "CLOSED")
        assert f"Invalid request from ip={event['key']}:" in unix.log.read_text()

    def test_in_the_error_path_with_a_request(self, unix):
        """A request that fails after its head was read is in the access log with the key."""
        with unix.connect() as client:
            client.send(b"GET /odd HTTP/1.1\r\nHost: a\r\nBad Header: 1\r\n\r\n")
            assert client.rest().startswith(b"HTTP/1.1 400 ")
        (event,) = wait_for(unix.closed, "CLOSED")
        assert f"Invalid request from ip={event['key']}:" in unix.log.read_text()

    def test_a_bound_client(self, unix, tmp_path):
        """A client that has bound its end to a path does not choose its key by that."""
        source = str(tmp_path / "client;uid=0;")
        with reach(unix.address, source) as client:
            answer = client.request("/", "Connection: close").json
        assert re.fullmatch(rf"@{answer['pid']}\.\d+", answer["key"])
        assert answer["remote_addr"] == answer["key"]

    @pytest.mark.slow
    def test_turned_off_in_the_view(self, nameless, run_server):
        """With RAWSOCKET_UNIX_REMOTE_ADDR = False it is what plain gunicorn says."""
        answer = ask(nameless).json
        with run_server(f"plain-{nameless.name}", "unix") as plain:
            assert answer["remote_addr"] == ask(plain).json["remote_addr"]
        assert answer["key"].startswith(f"@{answer['pid']}.")

    def test_turned_off_in_the_error_path(self, nameless):
        """The error path is then gunicorn's own."""
        with nameless.connect() as client:
            client.send(b"garbage\r\n\r\n")
            assert client.rest().startswith(b"HTTP/1.1 400 ")
        wait_for(lambda: "Invalid request from ip=:" in nameless.log.read_text(), "the warning")
        assert "Traceback" not in nameless.log.read_text()

    @pytest.mark.slow
    @pytest.mark.parametrize("options", [(), ("--forwarded-allow-ips", "192.0.2.1")], ids=len)
    def test_forwarded_headers(self, run_server, worker, options, tmp_path):
        """X-Forwarded-Proto is trusted from whom plain gunicorn trusts it, over TCP and UNIX."""
        schemes = {}
        for name in worker, f"plain-{worker}":
            path = str(tmp_path / name)
            bind = ["127.0.0.1:0", f"unix:{path}"]
            with run_server(name, "tcp", *options, bind=bind) as server:
                for address in server.address, path:
                    with reach(address) as client:
                        headers = "X-Forwarded-Proto: https", "Connection: close"
                        answer = client.request("/", *headers)
                        schemes.setdefault(name, []).append(answer.json["scheme"])
        assert schemes[worker] == schemes[f"plain-{worker}"]
        assert schemes[worker][1] == "https"


@pytest.mark.slow
class TestDescriptors:
    """A worker that is out of them."""

    @pytest.mark.parametrize(("worker", "transport"), [*EACH_SERVER_ONCE[1:], ("gthread", "tcp")])
    def test_none_left(self, run_server, worker, transport):
        """It complains once, in one line, and the same process serves on when it has some."""
        with run_server(worker, transport) as server:
            pid = ask(server).json["pid"]
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
            try:
                waiting = [Client(server.raw()) for _ in range(5)]
                wait_for(lambda: "Cannot accept" in server.log.read_text(), "the complaint")
            finally:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            for each in waiting:
                each.close()
            answer = wait_for(lambda: try_ask(server), "an answer")
            assert answer.json["pid"] == pid
            log = server.log.read_text()
            assert log.count("Cannot accept") == 1
            assert "Traceback" not in log


def run_python(*args, **kwargs):
    """Run Python to its end; give its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
        **kwargs,
    )
    return done.returncode, done.stdout


@pytest.mark.slow
class TestGunicornItself:
    """A gunicorn that is absent, or unknown."""

    BLOCK = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'gunicorn':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "import flask_rawsocket\n"
    )

    @pytest.mark.parametrize(
        "statement", ["flask_rawsocket.Worker", "from flask_rawsocket.workers import SyncWorker"]
    )
    def test_absent(self, statement):
        """Asking for a worker says in one sentence what to install."""
        code, said = run_python("-c", self.BLOCK + statement)
        assert code == 1
        last = said.strip().splitlines()[-1]
        assert last.startswith("ImportError: flask_rawsocket.workers needs gunicorn: pip install ")

    def test_absent_and_not_asked_for(self):
        """Everything else can be imported without it."""
        statement = (
            "from flask_rawsocket import *; import flask_rawsocket.serving, flask_rawsocket.cli"
        )
        code, said = run_python("-c", self.BLOCK + statement)
        assert (code, said) == (0, "")

    @pytest.mark.parametrize(
        ("name", "owner", "attribute"),
        [
            ("flask_rawsocket.Worker", "gthread", "PollableMethodQueue"),
            ("flask_rawsocket.Worker", "gthread.ThreadWorker", "murder_pending"),
            ("flask_rawsocket.workers.SyncWorker", "sync.SyncWorker", "handle_request"),
        ],
    )
    def test_unknown(self, tmp_path, name, owner, attribute):
        """A release without one of the seams stops at the start, in one sentence."""
        conf = tmp_path / "conf.py"
        module = owner.partition(".")[0]
        conf.write_text(f"from gunicorn.workers import {module}\ndel {owner}.{attribute}\n")
        args = ["-m", "gunicorn", "-c", str(conf), "-k", name, "-b", f"unix:{tmp_path}/s"]
        if "--no-control-socket" in run_python("-m", "gunicorn", "--help")[1]:
            args.append("--no-control-socket")
        code, said = run_python(*args, "contract:app", cwd=tmp_path)
        assert code == 1
        assert "Traceback" not in said
        (sentence,) = [line for line in said.splitlines() if attribute in line]
        assert owner.partition(".")[2] in sentence
        assert gunicorn.__version__ in sentence

    def test_too_old(self):
        """A release before the oldest supported one is told so, whatever it has."""
        old = "import gunicorn; gunicorn.version_info, gunicorn.__version__ = (25, 2, 9), '25.2.9'"
        code, said = run_python("-c", f"{old}; import flask_rawsocket.workers")
        assert code == 1
        last = said.strip().splitlines()[-1]
        assert last.startswith("RuntimeError: flask_rawsocket.workers needs gunicorn 25.3 or newer")
        assert "25.2.9" in last

    @pytest.mark.parametrize("worker", [ThreadWorker, SyncWorker])
    def test_every_seam(self, monkeypatch, worker):
        """Each of them is there, and would be missed."""
        for owner, name in worker.SEAMS:
            worker.check_config(Config(), None)
            with monkeypatch.context() as patch:
                patch.delattr(owner, name)
                with pytest.raises(RuntimeError, match=rf"needs \w.*\.{name}, which gunicorn"):
                    worker.check_config(Config(), None)
