"""A worker that stops while its requests go on, and one whose applications take their time."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
from servers import wait_for

pytestmark = pytest.mark.slow

WORKERS = pytest.mark.parametrize("name", ["sync", "gthread"])


@pytest.mark.parametrize(("name", "transport"), [("gthread", "tls"), ("sync", "tcp")])
def test_beside_a_request_that_goes_on(run_server, name, transport):
    """Its connection and the owners' end before the arbiter kills, hooks and all."""
    with (
        run_server(name, transport, "--graceful-timeout", "4", app="stopping:app") as server,
        contextlib.ExitStack() as stack,
    ):
        server.mark()
        owned = [stack.enter_context(server.hand_over("/stay")) for _ in range(5)]
        slow = stack.enter_context(server.connect())
        slow.get("/long?seconds=30")
        wait_for(lambda: any("long" in each for each in server.events()), "the request")
        server.stop()
        for each in owned:
            assert each.rest() == b"CANCELLED\n"
        assert slow.at_eof()
        assert sorted(server.sequences()) == ["NAC"] + ["NAHC"] * 5
        assert [each["reason"] for each in server.closed()] == ["SHUTDOWN"] * 6


def test_on_shutdown_that_takes_longer_than_the_timeout(run_server):
    """The arbiter is told all the while that the worker lives."""
    options = "--timeout", "2", "--max-requests", "3", "--graceful-timeout", "20"
    with run_server(
        "gthread", "tcp", *options, app="stopping:app", env={"STOPPING_SECONDS": "3.5"}
    ) as server:
        told = {"told": 3.5}
        while told not in server.events():
            with contextlib.suppress(OSError), server.connect() as client:
                client.request("/", "Connection: close")
        assert "WORKER TIMEOUT" not in server.log.read_text()


@pytest.mark.parametrize(("name", "transport"), [("gthread", "tls"), ("sync", "unix")])
def test_quit_amid_a_request(run_server, name, transport):
    """The worker ends at once, by itself, and nothing is left unsaid."""
    with (
        run_server(name, transport, "--graceful-timeout", "4", app="stopping:app") as server,
        contextlib.ExitStack() as stack,
    ):
        server.mark()
        for path in "/thread", "/held", "/stay":
            stack.enter_context(server.hand_over(path))
        busy = stack.enter_context(server.connect())
        busy.get("/long?seconds=1")
        wait_for(lambda: any("long" in each for each in server.events()), "the request")
        server.stop(signal.SIGQUIT)
        assert {"told": 0.0} in server.events()
        assert sorted(server.sequences()) == ["NAC", "NAHC", "NAHC", "NAHC"]
        assert [each["reason"] for each in server.closed()] == ["SHUTDOWN"] * 4
        assert "SIGKILL" not in server.log.read_text()


@pytest.mark.parametrize("path", ["/view", "/upload"])
def test_term_while_a_view_reads(run_server, path):
    """A system call that TERM does not interrupt keeps nobody from being told."""
    with run_server("sync", "tcp", "--graceful-timeout", "4", app="stopping:app") as server:
        server.mark()
        with server.connect() as client:
            client.get(path, "Content-Length: 10", method="GET" if path == "/view" else "POST")
            expected = "NAH" if path == "/view" else "NA"
            wait_for(lambda: server.sequences() == [expected], "the view to read")
            server.stop()
            client.at_eof()
        assert {"told": 0.0} in server.events()
        assert server.sequences() == [expected + "C"]
        assert [each["reason"] for each in server.closed()] == ["SHUTDOWN"]


@pytest.mark.parametrize(
    ("name", "path"), [("gthread", "/"), ("gthread", "/held"), ("sync", "/held")]
)
def test_slow_hooks_at_a_quit(run_server, name, path):
    """Those of different connections are run beside each other, and all of them are."""
    count = 20
    env = {"STOPPING_HOOK_SECONDS": "0.4"}  # one after the other, 8 seconds
    options = "--graceful-timeout", "4"
    with (
        run_server(name, "tcp", *options, app="stopping:app", env=env) as server,
        contextlib.ExitStack() as stack,
    ):
        server.mark()
        before = len(server.events())
        for _ in range(count):
            if path == "/held":
                stack.enter_context(server.hand_over(path))
            else:
                client = stack.enter_context(server.connect())
                assert client.request("/").status == 200
        server.stop(signal.SIGQUIT)
        assert len(server.closed()) == count
        assert sum(each.get("hook") == "ended" for each in server.events()[before:]) >= count
        assert "SIGKILL" not in server.log.read_text()


@WORKERS
def test_quit_twice(run_server, name):
    """A second QUIT does not break off what the first one has begun."""
    env = {"STOPPING_HOOK_SECONDS": "0.5"}
    with (
        run_server(name, "tcp", app="stopping:app", env=env) as server,
        contextlib.ExitStack() as stack,
    ):
        with server.connect() as client:
            pid = client.request("/", "Connection: close").json["pid"]
        wait_for(lambda: all(each == "NAC" for each in server.sequences()), "quiet")
        server.mark()
        before = len(server.events())

        def count(what):
            return sum(each.get("hook") == what for each in server.events()[before:])

        for _ in range(4):
            stack.enter_context(server.hand_over("/held"))
        os.kill(pid, signal.SIGQUIT)
        wait_for(lambda: count("begun") == 4, "the hooks to begin")
        os.kill(pid, signal.SIGQUIT)
        wait_for(lambda: count("ended") >= 4, "the hooks to end")
        assert [each["reason"] for each in server.closed()][:4] == ["SHUTDOWN"] * 4


@WORKERS
def test_half_heads_at_a_stop(run_server, name):
    """Threads that are reading find the end, and nothing is logged as a failure."""
    with (
        run_server(name, "tcp", "--graceful-timeout", "2") as server,
        contextlib.ExitStack() as stack,
    ):
        server.mark()
        for _ in range(3 if name == "gthread" else 1):
            client = stack.enter_context(server.connect())
            client.send(b"GET / HTTP/1.1\r\nHost: ")
        wait_for(lambda: "NA" in server.sequences(), "a thread to read")
        server.stop()
        assert set(server.sequences()) <= {"NAC", "NC"}
        assert "Traceback" not in server.log.read_text()
