"""`flask_rawsocket.serving`: the development server in each of its kinds."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import werkzeug.serving
from flask import Flask
from servers import APPS, Client, RunningServer, client_context, logged_address, wait_for

from flask_rawsocket import RawSocket
from flask_rawsocket.serving import _server as serving


def ask(server, path="/", *headers):
    """Ask once on a connection of its own."""
    with server.connect() as client:
        return client.request(path, "Connection: close", *headers)


def try_ask(server):
    """Ask once; None where nobody answers at the moment."""
    try:
        return ask(server)
    except (OSError, EOFError):
        return None


@contextlib.contextmanager
def serve(folder, transport, *, env=(), pass_fds=(), certificate=None, port=None, **arguments):
    """Run `serve.py` until the block ends; it answers when the block begins."""
    record, log = folder / "record", folder / "log"
    address = str(folder / "s") if transport == "unix" else ("127.0.0.1", port)
    host = f"unix://{address}" if transport == "unix" else "127.0.0.1"
    if transport == "tls":
        arguments.setdefault("ssl_context", certificate)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                str(APPS / "serve.py"),
                json.dumps({"host": host, "port": port or 0, **arguments}),
            ],
            env=os.environ | {"CONTRACT_RECORD": str(record)} | dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    server = RunningServer("werkzeug", transport, [address], process, record, log)

    def answers():
        assert process.poll() is None, server.tail()
        return try_ask(server)

    try:
        if transport != "unix" and port is None:
            server.addresses = [logged_address(process, log)]
        wait_for(answers, "the server to answer")
        settle(server)
        yield server
    finally:
        server.end()


def settle(server):
    """Wait until no connection is left; from here on `states` and `reasons` are of later ones."""
    server.begun = getattr(server, "begun", 0)
    wait_for(lambda: all(each[-1] in "CH" for each in states(server)), "the server to be idle")
    server.begun = len(server.events())


@pytest.fixture(scope="module")
def kinds(tmp_path_factory, certificate):
    """Servers of every kind over each transport, started when first asked for."""
    arguments = {
        "threaded": {"threaded": True},
        "single": {"threaded": False},
        "forking": {"processes": 4},
    }
    env = {"CONTRACT_RAWSOCKET_HEADER_TIMEOUT": "1"}
    with contextlib.ExitStack() as stack:
        started = {}

        def get(kind, transport):
            if (kind, transport) not in started:
                folder = tmp_path_factory.mktemp(f"{kind}-{transport}")
                started[kind, transport] = stack.enter_context(
                    serve(folder, transport, env=env, certificate=certificate, **arguments[kind])
                )
            settle(started[kind, transport])
            return started[kind, transport]

        yield get


@pytest.fixture(params=["threaded", "single", "forking"])
def kind(request, kinds, transport):
    """A server of each kind over each transport."""
    return kinds(request.param, transport)


def children(server):
    """Give the process ids of the server's children."""
    with open(f"/proc/{server.process.pid}/task/{server.process.pid}/children") as file:
        return file.read().split()


SLOW = [
    ("threaded", "tcp"),
    ("threaded", "unix"),
    ("threaded", "tls"),
    ("single", "tcp"),
    ("single", "tls"),
    ("forking", "tcp"),
]
"""For tests that take the header timeout: not every kind over every transport."""


def states(server):
    """Give, for each connection since the test began, its states as letters.

    By key: in a forking server every child counts anew.
    """
    found = {}
    for each in server.events()[server.begun :]:
        if "new" in each:
            found[each["key"]] = found.get(each["key"], "") + each["new"][0]
    return sorted(found.values())


def wait_states(server, *expected):
    wait_for(lambda: states(server) == sorted(expected), f"{expected}, not {states(server)}")


def reasons(server):
    return sorted(
        each["reason"] for each in server.events()[server.begun :] if each.get("new") == "CLOSED"
    )


class TestNames:
    """What stands in for `werkzeug.serving` looks like it."""

    @pytest.mark.parametrize("name", serving.__all__)
    def test_signatures(self, name):
        """Every name is one of werkzeug.serving's, and takes the same arguments."""

        def parameters(module):
            found = inspect.signature(getattr(module, name)).parameters.values()
            return [(each.name, each.kind, each.default) for each in found]

        assert parameters(serving) == parameters(werkzeug.serving)

    @pytest.mark.parametrize(
        "name", [each for each in serving.__all__ if isinstance(getattr(serving, each), type)]
    )
    def test_classes(self, name):
        """The classes are Werkzeug's with something added."""
        assert issubclass(getattr(serving, name), getattr(werkzeug.serving, name))

    def test_threads_and_processes(self):
        """Both at once are refused in Werkzeug's words."""
        with pytest.raises(ValueError, match="multi-thread and multi-process"):
            serving.make_server("127.0.0.1", 0, Flask("both"), threaded=True, processes=2)

    def test_werkzeug_is_left_as_it_was(self):
        """Afterwards, also when running has failed, Werkzeug makes servers of its own."""
        original = werkzeug.serving.make_server
        with pytest.raises(TypeError, match="port must be an integer"):
            serving.run_simple("127.0.0.1", "no port", Flask("left"))
        assert werkzeug.serving.make_server is original


class TestKinds:
    """One request at a time, threads, or a process for each."""

    def test_request(self, kind):
        """A request has its connection, which ends after the response."""
        with kind.connect() as client:
            answer = client.request().json
            if kind.transport == "tcp":
                assert answer["key"] == client.key
        assert (answer["requests"], answer["managed"], answer["same"]) == (1, True, True)
        # At least itself: a client sees the end of a former connection before the map does.
        assert answer["alive"] >= 1
        assert answer["is_tls"] == (kind.transport == "tls")
        wait_states(kind, "NAC")
        assert reasons(kind) == ["AFTER_RESPONSE"]

    def test_remote_addr(self, kind):
        """It is the peer's, which over UNIX is the key."""
        answer = ask(kind).json
        expected = answer["key"] if kind.transport == "unix" else "127.0.0.1"
        assert answer["remote_addr"] == expected
        assert answer["remote_addr_type"] == "str"

    @pytest.mark.slow
    @pytest.mark.parametrize(("kind", "transport"), SLOW, indirect=["kind"])
    def test_dribbled_head(self, kind):
        """A head that does not come to its end is answered with 408, and others are served."""
        with kind.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nX-Slow: ")
            client.sock.settimeout(0.05)
            said, began = b"", time.monotonic()
            while not said and time.monotonic() - began < 10:
                with contextlib.suppress(TimeoutError):
                    client.send(b"x")
                    said = client.sock.recv(4096)
            assert 0.8 < time.monotonic() - began < 6
            assert said.split()[1] == b"408"
        assert ask(kind).status == 200
        wait_states(kind, "NAC", "NAC")
        assert reasons(kind) == ["AFTER_RESPONSE", "ERROR"]

    @pytest.mark.slow
    @pytest.mark.parametrize(("kind", "transport"), SLOW, indirect=["kind"])
    def test_silent_client(self, kind):
        """It is let go of, unanswered, and others are served meanwhile or afterwards."""
        with Client(kind.raw()) as silent:
            wait_for(lambda: states(kind) == ["N"], "NEW")
            assert ask(kind).status == 200
            assert silent.rest() == b""
        wait_states(kind, "NAC", "NC")

    def test_garbage(self, kind):
        """It is answered with 400 and closed as an error."""
        with kind.connect() as client:
            client.send(b"\x00\x01garbage\r\n\r\n")
            assert b"400" in client.rest()
        wait_states(kind, "NAC")
        assert reasons(kind) == ["ERROR"]

    def test_take_over(self, kind):
        """A view may take its connection over and serve it until it returns."""
        with kind.connect() as client:
            client.get("/echo")
            assert client._exactly(6) == b"HELLO\n"
            client.send(b"ping")
            assert client._exactly(4) == b"ping"
        wait_states(kind, "NAHC")

    def test_abort(self, kind):
        """`abort()` ends the connection by the application."""
        with kind.connect() as client:
            client.get("/abort")
            assert client.at_eof()
        wait_states(kind, "NAC")
        assert reasons(kind) == ["APP"]

    def test_rough_views(self, kind):
        """A view that closes its socket, or shuts it down, costs that connection only."""
        for path in "/close-socket", "/shutdown-socket":
            with kind.connect() as client:
                client.get(path)
                assert client.at_eof()
        wait_states(kind, "NAC", "NAC")
        assert ask(kind).json["alive"] == 1


class TestThreaded:
    """Threads, which are the default of `flask run`."""

    def test_stalled_handshake(self, kinds):
        """Clients that stall in their handshake stop nobody; under plain Werkzeug they do."""
        server = kinds("threaded", "tls")

        def seconds_to_answer():
            with contextlib.ExitStack() as stack:
                for _ in range(8):
                    each = stack.enter_context(Client(server.raw()))
                    each.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
                began = time.monotonic()
                assert ask(server).status == 200
                return time.monotonic() - began

        # One in five: the machine may be slow.
        assert any(seconds_to_answer() < 0.9 for _ in range(5)), "it waits for header timeouts"

    def test_left_to_a_thread(self, kinds, transport):
        """A connection that was taken over outlives its view's thread."""
        server = kinds("threaded", transport)
        for number, path in enumerate(("/echo-thread", "/async"), 1):
            with server.connect() as client:
                client.get(path)
                assert client._exactly(6) == b"HELLO\n"
                assert ask(server).json["alive"] == 2
                client.send(b"ping")
                assert client._exactly(4) == b"ping"
            wait_states(server, *["NAHC", "NAC"] * number)


class TestSingle:
    """One request at a time."""

    def test_hooks_on_the_main_thread(self, kinds, transport):
        """The only thread is the connection's own."""
        server = kinds("single", transport)
        ask(server)
        wait_states(server, "NAC")
        assert {each["main"] for each in server.events()[server.begun :]} == {True}

    def test_a_connection_taken_over_lets_others_in(self, kinds):
        """A connection that was left to another thread holds up nobody."""
        server = kinds("single", "tls")
        with server.connect() as client:
            client.get("/echo-thread")
            assert client._exactly(6) == b"HELLO\n"
            assert ask(server).status == 200
            client.send(b"ping")
            assert client._exactly(4) == b"ping"
        wait_states(server, "NAC", "NAHC")


class TestForking:
    """A process for each connection."""

    def test_the_parent_sees_nothing(self, kinds, transport):
        """The child has its connection in its map, the parent's map stays empty."""
        server = kinds("forking", transport)
        with server.connect() as client:
            client.get("/slow?seconds=0.5")
            wait_for(lambda: states(server) == ["NA"], "ACTIVE")
            server.process.send_signal(signal.SIGUSR1)
            (told,) = wait_for(
                lambda: [each for each in server.events()[server.begun :] if "map" in each],
                "the parent to tell",
            )
            assert told == {"map": 0, "of": server.process.pid}
            assert client.response().status == 200
        answers = [ask(server).json for _ in range(3)]
        pids = {each["pid"] for each in answers}
        assert len(pids) == 3
        assert server.process.pid not in pids
        assert [each["alive"] for each in answers] == [1, 1, 1]

    @pytest.mark.parametrize("path", ["/echo-thread", "/async"])
    def test_left_to_a_thread(self, kinds, path):
        """A connection that was taken over outlives its view, and is seen to be closed."""
        server = kinds("forking", "tcp")
        with server.connect() as client:
            client.get(path)
            assert client._exactly(6) == b"HELLO\n"
            client.send(b"ping")
            assert client._exactly(4) == b"ping"
        wait_states(server, "NAHC")

    @pytest.mark.parametrize("path", ["/forget", "/close-its-socket"])
    def test_a_child_ends(self, kinds, transport, path):
        """It does not wait for an owner who is not there."""
        server = kinds("forking", transport)
        with server.connect() as client:
            client.get(path)
            assert client.rest() == (b"HELLO\n" if path == "/close-its-socket" else b"")
        wait_states(server, "NAHC")
        assert reasons(server) == ["APP"]
        wait_for(lambda: not children(server), "the child to be reaped")

    def test_keys_over_unix(self, kinds):
        """They are the child's: no two are the same."""
        server = kinds("forking", "unix")
        answers = [ask(server).json for _ in range(10)]
        assert len({each["key"] for each in answers}) == 10
        for each in answers:
            assert each["key"].startswith(f"@{each['pid']}.")

    @pytest.mark.slow
    def test_no_descriptor_is_left_in_the_parent(self, kinds, transport):
        """The parent closes what its children serve, and reaps them."""
        server = kinds("forking", transport)
        before = ask(server).json["descriptors"]
        for _ in range(10):
            ask(server)
        assert ask(server).json["descriptors"] == before
        wait_for(lambda: not children(server), "the children to be reaped")


@pytest.mark.slow
class TestAddresses:
    """Where it listens, and by which certificate."""

    def test_adhoc_certificate(self, tmp_path):
        """With 'adhoc' the certificate is made on the spot."""
        with serve(tmp_path, "tls", ssl_context="adhoc", threaded=True) as server:
            answer = ask(server).json
        assert (answer["is_tls"], answer["scheme"], answer["managed"]) == (True, "https", True)

    def test_a_path_that_is_taken(self, tmp_path):
        """A socket that was left behind is replaced, as Werkzeug does."""
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / "s"))
        with serve(tmp_path, "unix", threaded=True) as server:
            assert ask(server).json["is_unix"]

    def test_descriptor(self, tmp_path):
        """With ``fd=`` it serves on a socket that somebody else has opened."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.set_inheritable(True)
            fd, port = listening.fileno(), listening.getsockname()[1]
            running = serve(tmp_path, "tcp", pass_fds=[fd], port=port, make=True, fd=fd)
            with running as server, server.connect() as client:
                assert client.request().json["key"] == client.key

    def test_unix_descriptor(self, tmp_path):
        """So it does on a UNIX socket, whose peers have keys of their own."""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "s"))
            listening.listen()
            fd = listening.fileno()
            with serve(tmp_path, "unix", pass_fds=[fd], make=True, fd=fd) as server:
                answer = ask(server).json
        assert answer["key"].startswith(f"@{answer['pid']}.")

    def test_remote_addr_turned_off(self, tmp_path):
        """With RAWSOCKET_UNIX_REMOTE_ADDR = False it is what Werkzeug says."""
        env = {"CONTRACT_RAWSOCKET_UNIX_REMOTE_ADDR": "false"}
        with serve(tmp_path, "unix", env=env, threaded=True) as server:
            answer = ask(server).json
        assert answer["remote_addr"] == "<local>"
        assert answer["key"].startswith(f"@{answer['pid']}.")

    def test_a_port_in_use(self, tmp_path):
        """It says so and ends, as Werkzeug does."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            arguments = {"host": "127.0.0.1", "port": listening.getsockname()[1]}
            done = subprocess.run(
                [sys.executable, str(APPS / "serve.py"), json.dumps(arguments)],
                env=os.environ | {"CONTRACT_RECORD": str(tmp_path / "record")},
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        assert done.returncode == 1
        assert "is in use by another program" in done.stderr
        assert "Traceback" not in done.stderr


class TestHandler:
    """A request handler of the user's."""

    @pytest.mark.parametrize("kind", ["threaded", "forking"])
    def test_of_werkzeug(self, tmp_path, kind):
        """A subclass of Werkzeug's own handler is used, and its connections are tracked."""
        kwargs = {"threaded": True} if kind == "threaded" else {"processes": 2}
        with serve(tmp_path, "tcp", handler=True, **kwargs) as server:
            with server.connect() as client:
                answer = client.request()
                assert (answer.json["key"], answer.json["managed"]) == (client.key, True)
            wait_states(server, "NAC")
            wait_for(lambda: "a line of our own: 200" in server.log.read_text(), "its log line")


@pytest.mark.slow
class TestReloader:
    """The server's process is replaced when a file changes."""

    def test_reload_and_stop(self, tmp_path):
        """It serves on at the same port; `on_shutdown` is called once for each process."""
        touched = tmp_path / "touched.py"
        touched.write_text("")
        arguments = {
            "use_reloader": True,
            "reloader_type": "stat",
            "reloader_interval": 0.1,
            "extra_files": [str(touched)],
            "threaded": True,
        }
        with serve(tmp_path, "tcp", **arguments) as server:
            pid = ask(server).json["pid"]
            assert pid != server.process.pid

            def shutdowns():
                return sum("shutdown" in each for each in server.events())

            def is_new():
                os.utime(touched)
                answer = try_ask(server)
                return answer is not None and answer.json["pid"] != pid

            wait_for(is_new, "a new process")
            assert shutdowns() >= 1
            before = shutdowns()
            answer = wait_for(lambda: try_ask(server), "an answer").json
            assert (answer["requests"], answer["managed"]) == (1, True)
            assert shutdowns() == before
            # What Ctrl-C does: the terminal sends it to the whole group, which is our own.
            os.killpg(server.process.pid, signal.SIGINT)
            server.process.wait(20)
            assert shutdowns() == before + 1
            assert "Traceback" not in server.log.read_text()


class TestStopping:
    """The end of the server."""

    @pytest.mark.parametrize("kind", ["threaded", "single", "forking"])
    def test_interrupt(self, tmp_path, kind):
        """Ctrl-C calls what `on_shutdown` was given, once, and leaves no traceback."""
        kwargs = {"threaded": {"threaded": True}, "single": {}, "forking": {"processes": 2}}[kind]
        with serve(tmp_path, "tcp", **kwargs) as server:
            ask(server)
            assert server.stop(signal.SIGINT) == 0
            assert [each for each in server.events() if "shutdown" in each] == [{"shutdown": True}]
            assert "Traceback" not in server.log.read_text()

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["threaded", "single"])
    @pytest.mark.parametrize(
        ("transport", "seen"),
        [
            *(("tcp", each) for each in ["N", "NA", "NAH"]),
            *(("tls", each) for each in ["handshake", "N", "NA", "NAH"]),
        ],
    )
    def test_interrupt_beside_connections(self, tmp_path, certificate, transport, kind, seen):
        """What is open when Ctrl-C comes is reported as CLOSED: silent, in a view, taken over."""
        kwargs = {"threaded": kind == "threaded", "certificate": certificate}
        with serve(tmp_path, transport, **kwargs) as server:
            with contextlib.ExitStack() as stack:
                if seen == "handshake":
                    client, seen = stack.enter_context(Client(server.raw())), "N"
                else:
                    client = stack.enter_context(server.connect())
                if seen != "N":
                    client.get("/slow?seconds=10" if seen == "NA" else "/never-close")
                wait_for(lambda: states(server) == [seen], f"{seen}")
                assert server.stop(signal.SIGINT) == 0
                with contextlib.suppress(ssl.SSLError):
                    assert client.at_eof()
            assert states(server) == [seen + "C"]
            assert reasons(server) == ["SHUTDOWN"]
            assert [each for each in server.events() if "shutdown" in each] == [{"shutdown": True}]
            assert "Traceback" not in server.log.read_text()

    @pytest.fixture
    def app(self):
        """An application that counts how often it was told of the server's end."""
        app = Flask("stopping")
        app.told = []
        app.rawsocket = RawSocket(app)
        app.rawsocket.on_shutdown(lambda: app.told.append(True))
        app.add_url_rule("/", "index", lambda: app.rawsocket.current_conn.key)
        return app

    def test_server_close(self, app):
        """`on_shutdown` comes when it has served, and once, however often it is closed."""
        server = serving.make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            with Client(sock) as client:
                assert client.request("/").body.decode() == client.key
            assert app.told == []
        finally:
            server.shutdown()
            thread.join()
        server.server_close()
        server.server_close()
        assert app.told == [True]

    def test_server_that_never_served(self, app):
        """A server that is only closed, such as a reloader's parent has, tells nobody."""
        serving.make_server("127.0.0.1", 0, app).server_close()
        assert app.told == []


@pytest.mark.slow
class TestDescriptors:
    """A server that runs out of them."""

    def test_more_connections_than_descriptors(self, tmp_path, transport, certificate):
        """It complains without a traceback, and serves on when it has some again."""
        kwargs = {"threaded": True, "certificate": certificate}
        with serve(tmp_path, transport, **kwargs) as server:
            pid = server.process.pid
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (40, before[1]))
            with contextlib.ExitStack() as stack:
                for _ in range(60):
                    stack.enter_context(server.raw())
                wait_for(lambda: "Cannot accept" in server.log.read_text(), "the complaint")
            answer = wait_for(lambda: try_ask(server), "an answer")
            assert answer.json["pid"] == pid
            wait_for(lambda: ask(server).json["alive"] == 1, "all to be gone")
            assert "Traceback" not in server.log.read_text()

    def test_it_complains_once(self, tmp_path):
        """While it lasts there is one line about it, not ten a second."""
        with serve(tmp_path, "tcp", threaded=True) as server:
            pid = server.process.pid
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
            with server.raw():
                wait_for(lambda: "Cannot accept" in server.log.read_text(), "the complaint")
                began = time.monotonic()
                wait_for(lambda: time.monotonic() - began > 0.5, "half a second to pass")
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            wait_for(lambda: try_ask(server), "an answer")
            assert server.log.read_text().count("Cannot accept") == 1


def test_verified_client(kinds, certificate):
    """A context that trusts the certificate gets through: the name and the chain are right."""
    context = client_context()
    context.load_verify_locations(certificate[0])
    server = kinds("threaded", "tls")
    with Client(context.wrap_socket(server.raw(), server_hostname="localhost")) as client:
        assert client.request().status == 200
