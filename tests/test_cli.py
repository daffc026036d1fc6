"""`flask rawsocket run`: the options of `flask run`, and a server that tracks its connections."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest
from flask.cli import run_command
from servers import APPS, RunningServer, logged_address, wait_for

from flask_rawsocket.cli import rawsocket_command

RUN = rawsocket_command.commands["run"]


def environment(folder, **variables):
    """Give the environment of a `flask` command, without what ours may have of its settings."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FLASK_")}
    return inherited | {
        "CONTRACT_RECORD": str(folder / "record"),
        "PYTHONPATH": str(APPS),
        "PYTHONUNBUFFERED": "1",
        **variables,
    }


def flask(folder, *arguments, **variables):
    """Run a `flask` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "flask", *arguments],
        env=environment(folder, **variables),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@contextlib.contextmanager
def running(folder, *options, path=None, transport="tcp", app="contract:app", **variables):
    """Run `flask rawsocket run` until the block ends; it answers when the block begins.

    It listens on `path`, or on a port that it has chosen and tells.
    """
    with (folder / "log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", app, "rawsocket", "run", *options],
            env=environment(folder, **variables),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = RunningServer(
        "werkzeug", transport, [path], process, folder / "record", folder / "log"
    )

    def answers():
        assert process.poll() is None, server.tail()
        with contextlib.suppress(OSError, EOFError), server.connect() as client:
            return client.request("/").status == 200

    try:
        if path is None:
            server.addresses = [logged_address(process, server.log)]
        wait_for(answers, "the server to answer")
        wait_for(lambda: all(each.endswith("C") for each in server.sequences()), "quiet")
        server.mark()
        yield server
    finally:
        server.stop()


class TestOptions:
    """What the command takes."""

    def test_the_same(self):
        """They are `flask run`'s, one by one."""

        def facts(command):
            return [
                (each.name, each.opts, each.secondary_opts, each.default, each.envvar, each.help)
                for each in command.params
            ]

        assert facts(RUN) == facts(run_command)

    def test_help(self, tmp_path):
        """`--help` lists them as `flask run --help` does."""

        def options(*command):
            done = flask(tmp_path, "--app", "contract:app", *command, "--help")
            assert done.returncode == 0, done.stderr
            return done.stdout.partition("Options:")[2]

        assert options("rawsocket", "run") == options("run")

    def test_no_such_option(self, tmp_path):
        """What `flask run` does not know is refused as it is there."""
        done = flask(tmp_path, "--app", "contract:app", "rawsocket", "run", "--no-such-option")
        assert done.returncode == 2
        assert "No such option" in done.stderr

    def test_a_certificate_without_its_key(self, tmp_path, certificate):
        """What `flask run` asks to be given together is asked for here too."""
        arguments = "--cert", certificate[0]
        said = [
            flask(tmp_path, "--app", "contract:app", *command, *arguments).stderr.splitlines()[-1]
            for command in (["run"], ["rawsocket", "run"])
        ]
        assert said[0] == said[1]
        assert "--key" in said[0]

    def test_no_application(self, tmp_path):
        """An application that is not there is reported as `flask run` reports it."""
        ended = [
            flask(tmp_path, "--app", "no_such_module", *command)
            for command in (["run"], ["rawsocket", "run"])
        ]
        assert ended[0].returncode == ended[1].returncode != 0
        assert ended[0].stderr.splitlines()[-1] == ended[1].stderr.splitlines()[-1]


@pytest.mark.slow
class TestServing:
    """What it does with them."""

    def test_port(self, tmp_path):
        """`--port` says where, and a view has its tracked connection."""
        with running(tmp_path, "--port", "0") as server:
            with server.connect() as client:
                answer = client.request().json
                assert (answer["key"], answer["managed"]) == (client.key, True)
                assert answer["requests"] == 1
            server.wait_sequences("NAC")
            assert "Running on http://127.0.0.1:" in server.log.read_text()

    def test_variable(self, tmp_path):
        """So does FLASK_RUN_PORT, as with `flask run`."""
        context = running(tmp_path, FLASK_RUN_PORT="0")
        with context as server, server.connect() as client:
            assert client.request().json["key"] == client.key

    def test_option_before_variable(self, tmp_path):
        """The option is heard before the variable."""
        options = "--port", "0"
        with running(tmp_path, *options, FLASK_RUN_PORT="1") as server:
            assert server.process.poll() is None

    def test_tls(self, tmp_path, certificate):
        """`--cert` and `--key` make it speak TLS."""
        options = "--port", "0", "--cert", certificate[0], "--key", certificate[1]
        context = running(tmp_path, *options, transport="tls")
        with context as server, server.connect() as client:
            answer = client.request().json
            assert (answer["is_tls"], answer["scheme"]) == (True, "https")
            assert (answer["key"], answer["managed"]) == (client.key, True)

    def test_tls_by_variables(self, tmp_path, certificate):
        """So do FLASK_RUN_CERT and FLASK_RUN_KEY."""
        variables = {
            "FLASK_RUN_PORT": "0",
            "FLASK_RUN_CERT": certificate[0],
            "FLASK_RUN_KEY": certificate[1],
        }
        context = running(tmp_path, transport="tls", **variables)
        with context as server, server.connect() as client:
            assert client.request().json["is_tls"]

    def test_adhoc_certificate(self, tmp_path):
        """`--cert adhoc` needs no file."""
        options = "--port", "0", "--cert", "adhoc"
        context = running(tmp_path, *options, transport="tls")
        with context as server, server.connect() as client:
            assert client.request().json["is_tls"]

    def test_unix(self, tmp_path):
        """`--host unix://...` listens on a path, and a peer's key is its REMOTE_ADDR."""
        path = str(tmp_path / "s")
        options = "--host", f"unix://{path}"
        with running(tmp_path, *options, path=path, transport="unix") as server:
            with server.connect() as client:
                answer = client.request().json
            assert answer["is_unix"]
            assert answer["key"] == answer["remote_addr"]
            assert answer["key"].startswith(f"@{answer['pid']}.")

    def test_without_threads(self, tmp_path):
        """`--without-threads` serves one request at a time, on the main thread."""
        options = "--port", "0", "--without-threads"
        with running(tmp_path, *options) as server:
            with server.connect() as client:
                assert client.request().status == 200
            server.wait_sequences("NAC")
            assert {each["main"] for each in server.events() if each.get("id", 0)} == {True}

    def test_debug(self, tmp_path):
        """`--debug` runs the reloader and the debugger, and connections are tracked there."""
        options = "--port", "0", "--debug"
        with running(tmp_path, *options) as server:
            with server.connect() as client:
                answer = client.request().json
            assert (answer["managed"], answer["requests"]) == (True, 1)
            assert answer["pid"] != server.process.pid, "the reloader's child serves"
            assert "Debugger is active!" in server.log.read_text()

    def test_hijack_under_the_debugger(self, tmp_path, certificate):
        """The debugger calls views late; the connection is its owner's all the same."""
        options = "--port", "0", "--debug", "--no-reload"
        tls = "--cert", certificate[0], "--key", certificate[1]
        for transport, more in (("tcp", ()), ("tls", tls)):
            folder = tmp_path / transport
            folder.mkdir()
            with running(folder, *options, *more, app="taking:app", transport=transport) as server:
                with server.connect() as client:
                    client.get("/echo-thread")
                    assert client._exactly(6) == b"HELLO\n"
                    wait_for(lambda: "GET /echo-thread HTTP" in server.tail(), "the view's end")
                    client.send(b"ping")
                    assert client._exactly(4) == b"ping"
                server.wait_sequences("NAHC")
                assert "Traceback" not in server.tail()

    def test_flask_run_is_left_as_it_is(self, run_server):
        """Beside it, `flask run` is Werkzeug's own server."""
        with run_server("plain-werkzeug") as server, server.connect() as client:
            assert client.request("/").json["managed"] is False
