"""What the thread worker does with its threads, its poller and its count of connections."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time

import pytest
from servers import Client, ask, client_context, is_quiet, is_running, wait_for

pytestmark = pytest.mark.slow

THREADS = 4
"""How many threads each of the workers here has."""


def try_ask(server):
    """Ask once; None where nobody answers at the moment."""
    try:
        return ask(server)
    except (OSError, EOFError):
        return None


def seconds_to_answer(server, path="/"):
    """Ask once, and give how long that took."""
    began = time.monotonic()
    assert ask(server, path).status == 200
    return time.monotonic() - began


@pytest.fixture(scope="module")
def servers_of_our_own(run_server):
    """Workers for this file, by the name of what is special about them, started when asked for."""
    special = {
        "rough": {"app": "handling:app"},
        "hurried": {"env": {"CONTRACT_RAWSOCKET_HEADER_TIMEOUT": "1"}},
        "brief": {"options": ["--keep-alive", "1"]},
        "failing": {"env": {"CONTRACT_FAILING_HOOK": "1"}, "app": "handling:app"},
        "leaving": {"env": {"CONTRACT_FAILING_HOOK": "SystemExit"}, "app": "handling:app"},
    }
    with contextlib.ExitStack() as stack:
        started = {}

        def get(what, transport="tcp"):
            if (what, transport) not in started:
                kwargs = dict(special[what])
                options = kwargs.pop("options", ())
                context = run_server("gthread", transport, *options, **kwargs)
                started[what, transport] = stack.enter_context(context)
            started[what, transport].mark()
            return started[what, transport]

        yield get


@pytest.fixture
def rough(servers_of_our_own, transport):
    """A worker over each transport, whose views handle connections roughly."""
    return servers_of_our_own("rough", transport)


class TestThreads:
    """What holds a thread of the pool, and what does not."""

    def test_400_silent_connections(self, gthread):
        """Beside 400 silent connections a request is answered at once; plain gthread takes 50 s."""
        with contextlib.ExitStack() as stack:
            for _ in range(400):
                stack.enter_context(gthread.raw())
            assert seconds_to_answer(gthread) < 10

    def test_silent_after_the_handshake(self, servers_of_our_own):
        """A client that has shaken hands, and says nothing more, holds no thread."""
        server = servers_of_our_own("rough", "tls")
        with contextlib.ExitStack() as stack:
            for _ in range(2 * THREADS):
                stack.enter_context(server.connect())
            assert seconds_to_answer(server) < 8

    @pytest.mark.slow
    @pytest.mark.parametrize("transport", ["tls"])
    def test_dribblers_on_every_thread(self, servers_of_our_own, transport):
        """Where slow heads hold every thread, the others wait for the header timeout, no longer."""
        server = servers_of_our_own("hurried", transport)
        stop = threading.Event()
        with contextlib.ExitStack() as stack:
            slow = [stack.enter_context(server.connect()) for _ in range(THREADS)]
            for each in slow:
                each.send(b"GET / HTTP/1.1\r\nX-Slow: ")
            wait_for(lambda: server.sequences() == ["NA"] * THREADS, "all to be ACTIVE")

            def dribble():
                while not stop.wait(0.05):
                    for each in slow:
                        with contextlib.suppress(OSError):
                            each.send(b"x")

            thread = threading.Thread(target=dribble)
            thread.start()
            try:
                assert seconds_to_answer(server) < 5
                wait_for(lambda: server.sequences().count("NAC") == THREADS + 1, "all to be closed")
            finally:
                stop.set()
                thread.join()
        reasons = [each["reason"] for each in server.closed()]
        assert sorted(reasons) == ["AFTER_RESPONSE"] + ["ERROR"] * THREADS

    @pytest.mark.slow
    @pytest.mark.parametrize("transport", ["tls"])
    def test_lingering_clients(self, rough):
        """Clients that keep their end open behind `Connection: close` delay nobody."""
        with contextlib.ExitStack() as stack:
            for _ in range(2 * THREADS):
                client = stack.enter_context(rough.connect())
                assert client.request("/", "Connection: close").status == 200
            assert any(seconds_to_answer(rough) < 1.5 for _ in range(3))
            # They are let go of, though they stay.
            wait_for(lambda: is_quiet(rough), "the worker to have forgotten them")

    def test_more_than_the_worker_may_have(self, run_server):
        """At `--worker-connections` the rest waits in the backlog, and has its turn."""
        with run_server("gthread", "tcp", "--worker-connections", "6") as server:
            with contextlib.ExitStack() as stack:
                for _ in range(12):
                    stack.enter_context(server.raw())
                wait_for(lambda: len(server.sequences()) >= 6, "as many as it takes")
                waiting = stack.enter_context(server.connect())
                waiting.get("/", "Connection: close")
                waiting.sock.settimeout(0)
                with pytest.raises(BlockingIOError):
                    waiting.sock.recv(1)
                waiting.sock.settimeout(20)
                stack.pop_all().close()
            assert wait_for(lambda: is_quiet(server), "room to be made")


class TestHooks:
    """Where hooks run, and whom they keep waiting."""

    @pytest.mark.parametrize(
        ("transport", "what"),
        [("tcp", "rough"), ("unix", "rough"), ("tls", "rough"), ("tls", "brief")],
    )
    def test_never_on_the_main_thread(self, servers_of_our_own, transport, what):
        """Whatever ends a connection, and whoever does it, the hooks run in the pool."""
        server = servers_of_our_own(what, transport)
        server.raw().close()
        client = server.connect()
        client.request()
        with server.connect() as garbage:
            garbage.send(b"garbage\r\n\r\n")
            garbage.rest()
        if what == "brief":
            assert client.rest() == b""  # the keep-alive timeout
        else:
            with contextlib.suppress(OSError, EOFError):
                client.request("/abort")
            with server.connect() as taken:
                taken.get("/async")
                assert taken._exactly(6) == b"HELLO\n"
            with server.connect() as taken:
                taken.get("/echo-thread")
                assert taken._exactly(6) == b"HELLO\n"
        client.close()
        expected = 3 if what == "brief" else 5
        wait_for(lambda: len(server.closed()) == expected, "all to be closed")
        assert {each["main"] for each in server.events() if each.get("id", 0) > server.seen} == {
            False
        }

    @pytest.mark.parametrize(
        ("source", "seen"),
        [("127.0.0.2", "N"), ("127.0.0.3", "NA"), ("127.0.0.4", "NAI"), ("127.0.0.5", "NAC")],
    )
    def test_a_slow_hook(self, servers_of_our_own, source, seen):
        """A hook that waits keeps its own connection waiting, and no other."""
        server = servers_of_our_own("rough")
        before = len(server.events())

        def events(name):
            return [each for each in server.events()[before:] if name in each]

        with Client(server.raw((source, 0))) as client:
            client.get("/", *(["Connection: close"] if seen == "NAC" else []))
            wait_for(lambda: events("waiting"), "the hook to wait")
            if seen == "NAI":
                assert client.response().status == 200
                client.get("/", "Connection: close")
            for _ in range(THREADS):
                assert ask(server).status == 200
            assert not events("released"), "the hook has waited in vain: others had to wait for it"
            assert seen in server.sequences()
            ask(server, "/release")
            (event,) = wait_for(lambda: events("released"), "the hook to end")
            assert event["released"], "others had to wait for the hook"
            assert client.response().status == 200
        wait_for(lambda: is_quiet(server), "the worker to be quiet")

    @pytest.mark.parametrize("how", ["close", "reset", "after_response"])
    def test_more_slow_hooks_than_threads(self, servers_of_our_own, how):
        """However a connection ends, hooks of its end hold no thread that requests need."""
        server = servers_of_our_own("rough")
        before = len(server.events())

        def count(name):
            return sum(name in each for each in server.events()[before:])

        many = 3 * THREADS
        for _ in range(many):
            with Client(server.raw(("127.0.0.5", 0))) as client:
                headers = ["Connection: close"] if how == "after_response" else []
                assert client.request("/", *headers).status == 200
                if how == "reset":
                    client.reset()
        wait_for(lambda: count("waiting") == many, "the hooks to wait")
        with server.connect() as client:
            assert client.request("/", "Connection: close").status == 200
        wait_for(lambda: server.sequences().count("NAC") >= 1, "the end of another connection")
        assert not count("released"), "it had to wait for the hooks"
        ask(server, "/release")
        wait_for(lambda: is_quiet(server), "the worker to be quiet")

    def test_a_hook_that_always_fails(self, servers_of_our_own, transport):
        """It is logged with its connection, the other hooks run, and the client sees nothing."""
        server = servers_of_our_own("failing", transport)
        with server.connect() as client:
            key = client.request().json["key"]
            assert client.request().json["requests"] == 2
        server.wait_sequences("NAIAIC")
        log = server.log.read_text()
        assert "The hook fail failed on <Connection " in log
        assert key in log
        assert "LookupError: this hook always fails" in log

    def test_a_hook_that_always_exits(self, servers_of_our_own):
        """Here that ends nothing: it is logged as any failure is, in every state."""
        server = servers_of_our_own("leaving")
        with server.connect() as client:
            pid = client.request().json["pid"]
        server.wait_sequences("NAIC")
        for state in "NEW", "ACTIVE", "IDLE", "CLOSED":
            # By what the hook was called with: the connection may be in its next state by then.
            wait_for(
                lambda state=state: f", ConnState.{state}\n" in server.log.read_text(),
                f"the log of {state}",
            )
        said = "SystemExit: this hook always fails"
        wait_for(lambda: server.log.read_text().count(said) >= 4, said)
        assert ask(server).json["pid"] == pid

    @pytest.mark.slow
    def test_slow_closes_bound_what_is_open(self, run_server):
        """While CLOSED hooks cannot keep up, connections wait in the backlog; a stop tells all."""
        env = {"CONTRACT_SLOW_STATE": "CLOSED", "CONTRACT_SLOW_SECONDS": "0.2"}
        options = "--worker-connections", "10"
        with run_server("gthread", "tcp", *options, env=env) as server:
            pid = ask(server).json["pid"]
            wait_for(lambda: all(each.endswith("C") for each in server.sequences()), "quiet")
            before = len(os.listdir(f"/proc/{pid}/fd"))
            server.mark()
            most = 0
            for _ in range(40):
                assert ask(server).status == 200
                most = max(most, len(os.listdir(f"/proc/{pid}/fd")))
            assert most <= before + 10 + THREADS
            assert server.stop() == 0
            assert server.sequences() == ["NAC"] * 40
            assert "SIGKILL" not in server.log.read_text()

    def test_a_hook_that_always_fails_and_a_take_over(self, servers_of_our_own, transport):
        """A take-over goes well beside it, and what is counted stays right."""
        server = servers_of_our_own("failing", transport)
        with server.connect() as client:
            client.get("/echo")
            assert client._exactly(6) == b"HELLO\n"
        server.wait_sequences("NAHC")
        wait_for(lambda: is_quiet(server), "the count to be right")


@pytest.mark.slow
class TestTimeouts:
    """Connections on which nothing comes."""

    @pytest.mark.parametrize("transport", ["tls"])
    def test_between_requests(self, servers_of_our_own, transport):
        """A connection that is kept alive too long is closed, and says why."""
        server = servers_of_our_own("brief", transport)
        with server.connect() as client:
            assert client.request().status == 200
            began = time.monotonic()
            assert client.rest() == b""
            assert 0.5 < time.monotonic() - began < 6
        server.wait_sequences("NAIC")
        assert server.closed()[0]["reason"] == "KEEPALIVE_TIMEOUT"

    def test_before_the_first_request(self, servers_of_our_own):
        """So is one that never says anything, on each transport, TLS set up or not."""
        found = []
        with contextlib.ExitStack() as stack:
            for transport in "tcp", "unix", "tls":
                server = servers_of_our_own("brief", transport)
                clients = [stack.enter_context(Client(server.raw()))]
                if transport == "tls":
                    clients.append(stack.enter_context(server.connect()))
                found.append((server, clients))
            for server, clients in found:
                for each in clients:
                    assert each.rest() == b""
                server.wait_sequences(*["NC"] * len(clients))
                assert {each["reason"] for each in server.closed()} == {"KEEPALIVE_TIMEOUT"}


def fail_midway(server):
    with server.connect() as client:
        client.get("/fail-midway")
        client.rest()


def reset(server):
    client = server.connect()
    client.request()
    client.reset()


def reset_amid_the_response(server):
    client = server.connect()
    client.get("/stream?n=200&size=65536")
    client.sock.recv(100)
    client.reset()


def echo(path):
    def take(server):
        with server.connect() as client:
            client.get(path)
            assert client._exactly(6) == b"HELLO\n"
            client.send(b"ping")
            assert client._exactly(4) == b"ping"

    take.__name__ = "take_over_at_" + path.strip("/").replace("-", "_")
    return take


def take_over_and_fail(server):
    with server.connect() as client:
        client.get("/raise-after")
        assert client._exactly(6) == b"foobar"


def upgrade(server):
    with server.connect() as client:
        client.get("/upgrade", body=b"ping")
        _, client.buffered = client._until(b"\r\n\r\n")
        assert client._exactly(4) == b"ping"


def gone(path):
    def ask_in_vain(server):
        with server.connect() as client:
            client.get(path)
            assert client.at_eof()

    ask_in_vain.__name__ = path.strip("/").replace("-", "_")
    return ask_in_vain


KINDS = [
    fail_midway,
    reset,
    reset_amid_the_response,
    echo("/echo"),
    echo("/echo-thread"),
    echo("/async"),
    upgrade,
    take_over_and_fail,
    gone("/async-fails"),
    gone("/twice"),
    gone("/abort"),
    gone("/close-socket"),
    gone("/shutdown-socket"),
]


class TestTheCount:
    """`nr_conns`, by which gunicorn knows when it has too many connections, and when none."""

    @pytest.mark.parametrize("kind", KINDS, ids=[each.__name__ for each in KINDS])
    def test_ten_times(self, rough, kind):
        """It is right after ten of each kind, and so is the map; the process is the same."""
        before = ask(rough).json["pid"]
        beside = rough.connect()  # as many threads as connections, were one to be lost
        with beside:
            assert beside.request().status == 200
            for _ in range(10):
                kind(rough)
            assert beside.request().json["requests"] == 2
        wait_for(lambda: is_quiet(rough), f"1 and 1, not {ask(rough).json}")
        assert ask(rough).json["pid"] == before


class TestFromOutside:
    """What one request does to the connection of another."""

    def call(self, client, key, method):
        answer = client.request(f"/other?key={key}&call={method}").json
        assert answer == {"done": True}

    def test_close_after_response(self, rough):
        """Said of an idle connection, it holds for that one's next response."""
        with rough.connect() as client, rough.connect() as other:
            self.call(other, self.idle(client, other), "close_after_response")
            answer = client.request()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert client.rest() == b""
            assert other.request().headers.get("connection") != "close"
        wait_for(lambda: "NAIAC" in rough.sequences(), "CLOSED")

    def test_abort(self, rough):
        """An idle connection that is aborted ends by the application, with a reset over TCP."""
        with rough.connect() as client, rough.connect() as other:
            key = self.idle(client, other)
            self.call(other, key, "abort")
            if rough.transport == "tcp":
                with pytest.raises(ConnectionResetError):
                    client.sock.recv(1)
            else:
                assert client.at_eof()
            (event,) = wait_for(rough.closed, "CLOSED")
            assert (event["key"], event["reason"], event["usable"]) == (key, "APP", True)

    @pytest.mark.slow
    def test_abort_200_times(self, rough):
        """The descriptors are used again by later connections, and none of those is hurt."""
        with rough.connect() as other:
            for _ in range(200):
                with rough.connect() as client, rough.connect() as bystander:
                    self.call(other, self.idle(client, other), "abort")
                    assert client.at_eof()
                    assert bystander.request("/alive").status == 200
        wait_for(lambda: is_quiet(rough), "all to be gone")
        reasons = [each["reason"] for each in rough.closed()]
        assert reasons.count("APP") == 200

    @staticmethod
    def idle(client, other):
        """Make the connection of `client` one that `other` can name, and IDLE; give its key."""
        key = client.request("/keep-by-key").json["key"]
        wait_for(lambda: other.request(f"/state?key={key}").json["state"] == "IDLE", "IDLE")
        return key

    def test_close_the_socket(self, rough):
        """A socket that is closed behind the worker's back costs that connection, and no other."""
        pid = ask(rough).json["pid"]
        with rough.connect() as client, rough.connect() as other:
            self.call(other, self.idle(client, other), "sock.close")
            with contextlib.ExitStack() as stack:  # one of these has its descriptor
                for _ in range(4):
                    later = stack.enter_context(rough.connect())
                    assert later.request("/alive").status == 200
                    assert later.request().json["requests"] == 2
            assert other.request().json["pid"] == pid
        wait_for(lambda: is_quiet(rough), "the count to be right")


class TestExits:
    """A view that raises what is no Exception, in a pool thread."""

    @pytest.fixture(params=["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
    def kind(self, request):
        return request.param

    def test_before_the_response(self, gthread, kind):
        """It is answered with 500, logged, and the worker goes on."""
        pid = ask(gthread).json["pid"]
        with gthread.connect() as client:
            assert client.request(f"/exits?kind={kind}&when=before").status == 500
            assert client.at_eof()
        wait_for(lambda: f"{kind}: before the response" in gthread.log.read_text(), "the log")
        assert ask(gthread).json["pid"] == pid
        gthread.wait_sequences(*["NAC"] * 3)
        assert sorted(each["reason"] for each in gthread.closed()).count("ERROR") == 1

    def test_amid_the_response(self, gthread, kind):
        """The response is cut off."""
        pid = ask(gthread).json["pid"]
        with gthread.connect() as client:
            client.get(f"/exits?kind={kind}&when=amid")
            said = client.rest()
            assert said.endswith(b"\r\n5\r\nbegun\r\n")
        wait_for(lambda: f"{kind}: amid the response" in gthread.log.read_text(), "the log")
        assert ask(gthread).json["pid"] == pid
        gthread.wait_sequences(*["NAC"] * 3)
        assert sorted(each["reason"] for each in gthread.closed()).count("ERROR") == 1

    def test_after_a_hijack(self, gthread, kind):
        """The new owner has its connection all the same."""
        with gthread.connect() as client:
            client.get(f"/exits?kind={kind}&when=after")
            wait_for(lambda: f"{kind}: after the response" in gthread.log.read_text(), "the log")
            assert client._exactly(6) == b"foobar"
            assert gthread.sequences() == ["NAH"]
            client.send(b"x")
            assert client.rest() == b""
        gthread.wait_sequences("NAHC")
        assert [each["reason"] for each in gthread.closed()] == ["APP"]
        wait_for(lambda: is_quiet(gthread), "the count to be right")


@pytest.mark.slow
class TestDescriptors:
    """A worker that runs out of them."""

    LIMIT = 60

    def test_more_connections_than_descriptors(self, run_server, transport):
        """It says so in one line, serves those that it has, and later all again."""
        with run_server("gthread", transport) as server:
            pid = ask(server).json["pid"]
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            with contextlib.ExitStack() as stack:
                first = stack.enter_context(server.connect())
                assert first.request().status == 200
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (self.LIMIT, before[1]))
                for _ in range(self.LIMIT + 20):
                    stack.enter_context(server.raw())
                wait_for(lambda: "Cannot accept" in server.log.read_text(), "the complaint")
                assert first.request("/close").json["requests"] == 2
            wait_for(lambda: (answer := try_ask(server)) and answer.json["pid"] == pid, "an answer")
            wait_for(lambda: is_quiet(server), "all to be gone")
            log = server.log.read_text()
            assert log.count("Cannot accept") == 1
            assert "Traceback" not in log

    def test_tls_handshakes_without_any_left(self, run_server):
        """A handshake on a connection that was accepted before takes no descriptor more."""
        with run_server("gthread", "tls") as server:
            pid = ask(server).json["pid"]
            wait_for(lambda: is_quiet(server), "quiet")
            server.mark()
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            with Client(server.raw()) as client:
                wait_for(lambda: server.sequences() == ["N"], "NEW")
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
                try:
                    client.sock = client_context().wrap_socket(
                        client.sock, server_hostname="localhost"
                    )
                    assert client.request("/close").status == 200
                finally:
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
class TestStopping:
    """A graceful stop."""

    def test_beside_silent_connections(self, run_server):
        """Connections on which nothing has come are not waited for, TLS set up or not."""
        with run_server("gthread", "tls") as server, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(server.raw()))]
            clients += [stack.enter_context(server.connect()) for _ in range(2)]
            assert clients[-1].request().status == 200
            wait_for(lambda: server.sequences().count("N") == 2, "both to be NEW")
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 4
            for each in clients:
                assert each.at_eof()
            assert {each["reason"] for each in server.closed()} == {"AFTER_RESPONSE", "SHUTDOWN"}
            assert "Traceback" not in server.log.read_text()

    @pytest.mark.parametrize("beside", [True, False], ids=["beside-one", "alone"])
    @pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGINT], ids=["QUIT", "INT"])
    def test_worker_int(self, run_server, tmp_path, how, beside):
        """The configuration file's `worker_int` is called on a quick stop, once."""
        path = tmp_path / "conf.py"
        path.write_text("def worker_int(worker):\n    worker.log.info('int of %s', worker.pid)\n")
        with run_server("gthread", "tcp", "-c", str(path)) as server:
            pid = ask(server).json["pid"]
            with contextlib.ExitStack() as stack:
                if beside:
                    client = stack.enter_context(server.connect())
                    assert client.request().status == 200
                os.kill(pid, how)
                wait_for(lambda: f"int of {pid}" in server.log.read_text(), "worker_int")
                wait_for(lambda: (answer := try_ask(server)) and answer.json["pid"] != pid, "next")
            assert server.log.read_text().count(f"int of {pid}") == 1

    def test_a_request_beyond_the_grace(self, run_server):
        """A view that is still running when grace ends: its connection ends by the stop."""
        with run_server("gthread", "tcp", "--graceful-timeout", "2") as server:
            pid = ask(server).json["pid"]
            server.wait_sequences(*["NAC"] * len(server.sequences()))
            server.mark()
            with server.connect() as client:
                client.get("/slow?seconds=3")
                wait_for(lambda: server.sequences() == ["NA"], "ACTIVE")
                os.kill(pid, signal.SIGTERM)  # the worker's only: the arbiter would kill it
                assert client.at_eof()
                wait_for(server.closed, "CLOSED")
            (event,) = server.closed()
            assert (event["reason"], event["usable"]) == ("SHUTDOWN", True)

    def test_an_arbiter_that_is_killed(self, run_server):
        """Its worker stops; what is kept alive ends by that."""
        with run_server("gthread") as server:
            server.mark()
            with server.connect() as client:
                pid = client.request().json["pid"]
                wait_for(lambda: server.sequences() == ["NAI"], "IDLE")
                server.process.kill()
                server.process.wait()
                assert client.rest() == b""
                server.wait_sequences("NAIC")
            assert [each["reason"] for each in server.closed()] == ["SHUTDOWN"]
            wait_for(lambda: not is_running(pid), "the worker to end")

    def test_on_shutdown_while_requests_go_on(self, run_server):
        """What `on_shutdown` was given is called at once, also while every thread is held."""
        with run_server("gthread", "tcp", "--threads", "1") as server:
            server.mark()
            with server.connect() as client:
                client.get("/slow?seconds=3", "Connection: close")
                wait_for(lambda: server.sequences() == ["NA"], "ACTIVE")
                server.process.send_signal(signal.SIGTERM)
                wait_for(
                    lambda: any(each.get("shutdown") for each in server.events()), "on_shutdown"
                )
                client.sock.settimeout(0)
                with pytest.raises(BlockingIOError):
                    client.sock.recv(1)  # the response is not there yet
                client.sock.settimeout(20)
                assert client.response().status == 200


@pytest.mark.slow
class TestPipelining:
    """Requests that come together."""

    @pytest.fixture
    def transport(self):
        return "tls"

    def test_in_one_tls_record(self, gthread):
        """A request that TLS has decrypted, but nobody has read, is answered at once.

        The first is as long as one read of gunicorn's, so that the second stays in the TLS layer,
        where the poller cannot see it.
        """
        one = b"GET / HTTP/1.1\r\nHost: a\r\nX-Padding: "
        one += b"x" * (8192 - len(one) - 4) + b"\r\n\r\n"
        with gthread.connect() as client:
            client.sock.settimeout(5)
            client.send(one + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.response().json["requests"] == 1
            assert client.response().json["requests"] == 2
