"""A worker that stops while its requests go on, and one whose applications take their time."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time

import pytest
from servers import is_running, pid_of, wait_for

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


def answering_pid(server):
    """Give the worker that answers; None while none does."""
    try:
        return pid_of(server)
    except (OSError, EOFError):
        return None


@WORKERS
class TestWhatWasHijacked:
    """It is ended in its own time, not in that of requests."""

    def test_term(self, run_server, name):
        """uvicorn#2201: one open WebSocket held a stop up for the whole graceful timeout."""
        options = "--graceful-timeout", "30"
        with (
            run_server(name, "tcp", *options, app="stopping:app") as server,
            server.hand_over("/held") as client,
        ):
            began = time.monotonic()
            assert server.stop() == 0
            assert 4.5 < time.monotonic() - began < 12  # 5 seconds by default
            assert client.at_eof()
            assert server.closed()[-1]["reason"] == "SHUTDOWN"

    @pytest.mark.parametrize("how", ["max-requests", "reload", "HUP"])
    def test_one_worker_that_is_replaced(self, run_server, name, how, tmp_path):
        """gunicorn#3086: meanwhile nobody was served, for the whole graceful timeout."""
        watched = tmp_path / "watched.py"
        watched.touch()
        options = {
            "max-requests": ("--max-requests", "4"),
            "reload": ("--reload", "--reload-engine", "poll", "--reload-extra-file", str(watched)),
            "HUP": (),
        }
        env = {"CONTRACT_RAWSOCKET_STOP_TIMEOUT": "1"}
        arguments = "--graceful-timeout", "30", *options[how]
        with (
            run_server(name, "tcp", *arguments, app="stopping:app", env=env) as server,
            server.hand_over("/held") as client,
        ):
            old = pid_of(server)
            began = time.monotonic()
            ages = itertools.count(60, 60)

            def is_replaced():
                answering = answering_pid(server)
                if how == "reload" and answering == old:
                    # Again, as gunicorn's first look at the file may come after a change.
                    os.utime(watched, (time.time() + next(ages),) * 2)
                return answering not in {old, None}

            if how == "HUP":
                server.process.send_signal(signal.SIGHUP)
            wait_for(is_replaced, "another worker")
            assert client.at_eof()
            wait_for(lambda: not is_running(old), "the end of the old one")
            assert time.monotonic() - began < 12

    def test_no_time_of_its_own(self, run_server, name):
        """With None it has what requests have."""
        env = {"CONTRACT_RAWSOCKET_STOP_TIMEOUT": "null"}
        options = "--graceful-timeout", "8"
        with (
            run_server(name, "tcp", *options, app="stopping:app", env=env) as server,
            server.hand_over("/held") as client,
        ):
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began > 6.5
            assert client.at_eof()

    def test_a_request_in_hand(self, run_server, name):
        """An ordinary request still has the graceful timeout."""
        env = {"CONTRACT_RAWSOCKET_STOP_TIMEOUT": "0.5"}
        options = "--graceful-timeout", "15"
        with (
            run_server(name, "tcp", *options, app="stopping:app", env=env) as server,
            server.hand_over("/held") as owned,
            server.connect() as client,
        ):
            client.get("/long?seconds=3")
            wait_for(lambda: {"long": "begun"} in server.events(), "the request")
            server.process.send_signal(signal.SIGTERM)
            assert owned.at_eof()
            assert client.response().status == 200
            assert server.process.wait(20) == 0


@WORKERS
class TestAHookThatNeverReturns:
    """The grace is its limit, too, and the log says whose it is."""

    OPTIONS = "--graceful-timeout", "3"

    def hang(self, server, stack):
        """Have a connection whose CLOSED hook will never return."""
        client = stack.enter_context(server.connect())
        if server.name == "sync":
            client.get("/hang?hijack=1")
            assert client._exactly(6) == b"HELLO\n"
        else:
            assert client.request("/hang").status == 200
        return client

    def test_term(self, run_server, name, stack):
        """On a connection that the stopping worker closes."""
        with run_server(name, "tcp", *self.OPTIONS, app="stopping:app") as server:
            client = self.hang(server, stack)
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 6
            log = server.log.read_text()
            assert "the hook never_return on <Connection" in log or client.key in log
            assert "never_return" in log
            assert "SIGKILL" not in log

    def test_without_the_arbiter(self, run_server, name, stack):
        """No orphan is left that feeds a watchdog which nobody looks at."""
        with run_server(name, "tcp", *self.OPTIONS, app="stopping:app") as server:
            pid = pid_of(server)
            self.hang(server, stack)
            server.process.kill()
            wait_for(lambda: not is_running(pid), "the end of the worker")
            assert "never_return" in server.log.read_text()

    def test_on_shutdown(self, run_server, name):
        """So it is with a function given to `on_shutdown`."""
        env = {"STOPPING_SECONDS": "1000"}
        with run_server(name, "tcp", *self.OPTIONS, app="stopping:app", env=env) as server:
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 6
            log = server.log.read_text()
            assert "the hook closing_time on shutdown has not returned" in log
            assert "SIGKILL" not in log
