"""What is special to the sync worker: one connection at a time, on the only thread it has."""

from __future__ import annotations

import contextlib
import resource
import signal
import time

import pytest
from servers import Client, ask, wait_for


@pytest.fixture(scope="module")
def impatient(run_server):
    """Workers with a header timeout of a second, started when first asked for."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(transport):
            if transport not in started:
                env = {"CONTRACT_RAWSOCKET_HEADER_TIMEOUT": "1"}
                context = run_server("sync", transport, env=env, app="handling:app")
                started[transport] = stack.enter_context(context)
            started[transport].mark()
            return started[transport]

        yield get


def test_hooks_on_the_main_thread(impatient, transport):
    """The only thread is the connection's own, whatever ends the connection."""
    server = impatient(transport)
    server.raw().close()
    for path in "/", "/fail-midway", "/close-socket", "/abort":
        with server.connect() as client:
            client.get(path)
            assert client.at_eof()
    with server.connect() as client:
        client.send(b"garbage\r\n\r\n")
        assert client.rest()
    wait_for(lambda: len(server.closed()) == 6, "all to be closed")
    events = [each for each in server.events() if each.get("id", 0) > server.seen]
    assert {each["main"] for each in events} == {True}


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_silent_client(impatient, transport):
    """It is let go of after the header timeout, unanswered, and the next one is served."""
    server = impatient(transport)
    began = time.monotonic()
    with Client(server.raw()) as silent:
        wait_for(lambda: server.sequences() == ["N"], "NEW")
        assert ask(server).status == 200
        assert 0.9 < time.monotonic() - began < 6
        assert silent.rest() == b""
    server.wait_sequences("NC", "NAC")
    reasons = {each["reason"] for each in server.closed()}
    assert "AFTER_RESPONSE" in reasons
    if transport != "tls":
        assert reasons == {"AFTER_RESPONSE", "KEEPALIVE_TIMEOUT"}


@pytest.mark.slow
def test_silent_after_the_handshake(impatient):
    """So it is with a client that shakes hands and says no more."""
    server = impatient("tls")
    with server.connect() as silent:
        assert ask(server).status == 200
        assert silent.rest() == b""
    server.wait_sequences("NC", "NAC")
    assert {each["reason"] for each in server.closed()} == {"AFTER_RESPONSE", "KEEPALIVE_TIMEOUT"}


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_on_shutdown_while_a_request_goes_on(run_server, transport):
    """What `on_shutdown` was given is called at once; the request is answered all the same."""
    with run_server("sync", transport) as server:
        server.mark()
        with server.connect() as client:
            client.get("/slow?seconds=1.5")
            wait_for(lambda: server.sequences() == ["NA"], "ACTIVE")
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: any("shutdown" in each for each in server.events()), "on_shutdown")
            assert server.sequences() == ["NA"], "it was called when the request had ended"
            assert client.response().status == 200
        assert server.process.wait(20) == 0
        assert [each for each in server.events() if "shutdown" in each] == [{"shutdown": True}]
        assert "Traceback" not in server.log.read_text()


def test_on_shutdown_with_nobody_there(run_server):
    """It is called once where the worker has nothing to do, and the stop takes no time."""
    with run_server("sync") as server:
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 4
        assert [each for each in server.events() if "shutdown" in each] == [{"shutdown": True}]
        assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tls"])
def test_a_silent_client_and_a_stop(run_server, transport):
    """A client on which nothing comes does not keep the worker beyond its grace."""
    options = "--graceful-timeout", "2"
    with run_server("sync", transport, *options) as server, Client(server.raw()) as client:
        wait_for(lambda: "N" in server.sequences(), "NEW")
        server.process.send_signal(signal.SIGTERM)
        assert client.at_eof()
        server.process.wait(20)
        wait_for(lambda: any("shutdown" in each for each in server.events()), "on_shutdown")


@pytest.mark.parametrize("path", ["/close-socket", "/shutdown-socket", "/twice", "/raise-after"])
def test_rough_views(impatient, transport, path):
    """A view that treats its connection roughly costs that, and leaks no descriptor."""
    server = impatient(transport)
    before = ask(server).json
    for _ in range(10):
        with server.connect() as client:
            client.get(path)
            if path == "/raise-after":
                assert client._exactly(6) == b"foobar"
                client.close()
            else:
                assert client.at_eof()

    def is_as_before():
        after = ask(server).json
        return all(after[each] == before[each] for each in ("pid", "alive", "descriptors"))

    wait_for(is_as_before, f"{before}")
    wait_for(lambda: all(each.endswith("C") for each in server.sequences()), "all to be closed")


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_more_connections_than_descriptors(run_server, transport):
    """Taken-over connections use up all there are: one line in the log, then it serves again."""
    with run_server("sync", transport, app="handling:app") as server:
        pid = ask(server).json["pid"]
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (60, before[1]))
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(80)]
            for each in clients:
                each.get("/async-quiet")
            wait_for(lambda: "Cannot accept" in server.log.read_text(), "the complaint")
            assert clients[0]._exactly(6) == b"HELLO\n"
            clients[0].send(b"still here")
            assert clients[0]._exactly(10) == b"still here"
        wait_for(lambda: ask(server).json["alive"] == 1, "all to be gone")
        assert ask(server).json["pid"] == pid
        log = server.log.read_text()
        assert log.count("Cannot accept") == 1
        assert "Traceback" not in log


def test_a_hook_that_exits(run_server):
    """It is logged; with code 3 gunicorn took it for a worker that cannot boot, and stopped."""
    env = {"CONTRACT_FAILING_HOOK": "SystemExit"}
    with run_server("sync", "tcp", env=env) as server:
        pids = set()
        for _ in range(3):
            with server.connect() as client:
                pids.add(client.request("/").json["pid"])
        assert len(pids) == 1
        wait_for(lambda: "The hook fail failed on" in server.log.read_text(), "the log")
    assert server.process.returncode == 0
