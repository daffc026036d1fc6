"""`flask rawsocket drain`: real gunicorn processes, asked to stop from outside."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from servers import wait_for

from flask_rawsocket import _drain

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


def drain(*arguments, **kwargs):
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "flask", "rawsocket", "drain", *arguments],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        **kwargs,
    )


@pytest.mark.slow
def test_until_all_have_ended(run_server, transport, tmp_path):
    """The number goes down to nothing, and the exit code is 0."""
    pidfile = tmp_path / "pid"
    options = "-w", "2", "--pid", str(pidfile), "--graceful-timeout", "20"
    env = {"CONTRACT_RAWSOCKET_STOP_TIMEOUT": "1"}
    with (
        run_server("gthread", transport, *options, app="stopping:app", env=env) as server,
        server.hand_over("/held"),
        server.hand_over("/held"),
        server.hand_over("/stay"),
    ):
        wait_for(lambda: server.log.read_text().count("Booting worker") == 2, "both workers")
        done = drain("--pidfile", str(pidfile))
        assert done.stderr == ""
        assert done.returncode == 0
        first, *_, last = done.stdout.splitlines()
        assert first == "3 connections left in 3 processes"
        assert last == "All processes have ended."
        wait_for(lambda: server.process.poll() is not None, "its end")


@pytest.mark.slow
def test_given_up(run_server):
    """At the timeout it says what is left, and leaves the server to itself."""
    env = {"CONTRACT_RAWSOCKET_STOP_TIMEOUT": "3"}
    options = "--graceful-timeout", "20"
    with (
        run_server("gthread", "tcp", *options, app="stopping:app", env=env) as server,
        server.hand_over("/held"),
    ):
        done = drain(str(server.process.pid), "--timeout", "0.5")
        assert done.returncode == 1
        assert done.stderr == ("Given up after 0.5 seconds: 1 connection left in 2 processes.\n")
        assert server.process.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Pass either PID or --pidfile FILE."),
        (("1", "--pidfile", "x"), "Pass either PID or --pidfile FILE."),
        (("4194304",), "There is no process 4194304."),
        (("tea",), "'tea' is not a valid integer"),
        (("--pidfile", "/nowhere"), "/nowhere cannot be read: No such file or directory."),
        (("--pidfile", os.devnull), f"{os.devnull} does not contain a process id."),
    ],
)
def test_errors(arguments, sentence):
    """Each is one sentence."""
    done = drain(*arguments)
    assert done.returncode != 0
    assert done.stdout == ""
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_not_permitted():
    """Whose process it is not says so."""
    parent = os.getpid()
    child = os.fork()
    if not child:
        try:
            os.setuid(65534)
            next(_drain.drain(parent, None))
        except _drain.DrainError as exc:
            as_expected = str(exc) == f"You are not permitted to stop the process {parent}."
            os._exit(0 if as_expected else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
