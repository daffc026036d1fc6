"""What the kernel has accepted when a worker stops, and the worker has not: it is answered.

The worker is held (SIGSTOP) while clients connect and ask, so that its queue is full for certain.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import Client, client_context, pid_of, wait_for

from flask_rawsocket._sockets.last_accepts import close_when_empty, peer_of, refuse
from flask_rawsocket.workers import _listeners

CLIENTS = 16
WORKERS = ["sync", "gthread"]


@contextlib.contextmanager
def held(pid):
    """Hold the process for the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def ask(server, sock):
    """Ask over a socket that is connected, and give the response."""
    with contextlib.closing(sock):
        if server.transport == "tls":
            sock = client_context().wrap_socket(sock, server_hostname="localhost")
        with Client(sock) as client:
            return client.request("/")


@contextlib.contextmanager
def asking(server, count=CLIENTS):
    """Have clients whose connections the kernel has accepted; give their responses to come."""
    with ThreadPoolExecutor(count) as pool:
        sockets = [server.raw() for _ in range(count)]
        yield [pool.submit(ask, server, each) for each in sockets]


def says(server, what):
    wait_for(lambda: what in server.log.read_text(), what)


class TestTheArbiterStops:
    """TERM: nobody else will accept what is queued."""

    @pytest.mark.slow
    @pytest.mark.parametrize("name", WORKERS)
    @pytest.mark.parametrize("binds_itself", [True, False])
    def test_every_queued_connection_is_answered(self, run_server, name, transport, binds_itself):
        """gunicorn#3397: TERM resets what the kernel had queued; what comes later is refused."""
        if transport == "unix" and not binds_itself:
            pytest.skip("a UNIX socket is gunicorn's own here")
        with run_server(name, transport, binds_itself=binds_itself) as server:
            with held(pid_of(server)), asking(server) as responses:
                server.process.send_signal(signal.SIGTERM)
                says(server, "Handling signal: term")
                os.kill(worker_of(server), signal.SIGCONT)
                found = [each.result() for each in responses]
            assert {each.status for each in found} == {200}
            assert {each.headers["connection"] for each in found} == {"close"}
            assert server.process.wait(20) == 0
            with pytest.raises(OSError):  # noqa: PT011  refused, or no such path
                server.raw()
            assert "Traceback" not in server.log.read_text()

    @pytest.mark.slow
    @pytest.mark.parametrize("name", WORKERS)
    def test_several_workers(self, run_server, name):
        """gunicorn#3397: whichever of them is the last to let go."""
        with run_server(name, "tcp", "-w", "3", binds_itself=True) as server:
            wait_for(lambda: len(workers_of(server)) == 3, "the workers")
            with contextlib.ExitStack() as stack:
                for each in workers_of(server):
                    stack.enter_context(held(each))
                with asking(server) as responses:
                    server.process.send_signal(signal.SIGTERM)
                    says(server, "Handling signal: term")
                    stack.close()
                    assert {each.result().status for each in responses} == {200}
            assert server.process.wait(20) == 0

    @pytest.mark.slow
    def test_while_the_only_worker_leaves(self, run_server):
        """gunicorn#3397: so it is where the worker had begun to stop by itself (`max_requests`)."""
        options = "--max-requests", "2", "--graceful-timeout", "15"
        with run_server(
            "gthread", "tcp", *options, app="stopping:app", binds_itself=True
        ) as server:
            with server.connect() as slow:
                slow.get("/long?seconds=2")
                wait_for(lambda: {"long": "begun"} in server.events(), "the last request")
                says(server, "Autorestarting worker")
                with asking(server) as responses:
                    server.process.send_signal(signal.SIGTERM)
                    assert {each.result().status for each in responses} == {200}
                assert slow.response().status == 200
            assert server.process.wait(20) == 0

    @pytest.mark.slow
    @pytest.mark.parametrize("name", WORKERS)
    def test_silent_ones_hold_nobody_up(self, run_server, name):
        """A connection in the queue on which nothing comes is closed after a moment, not reset."""
        with run_server(name, "tcp", binds_itself=True) as server, contextlib.ExitStack() as stack:
            with held(pid_of(server)):
                silent = [stack.enter_context(Client(server.raw())) for _ in range(3)]
                with asking(server, 2) as responses:
                    server.process.send_signal(signal.SIGTERM)
                    says(server, "Handling signal: term")
                    os.kill(worker_of(server), signal.SIGCONT)
                    assert {each.result().status for each in responses} == {200}
            assert [each.rest() for each in silent] == [b""] * 3
            assert server.process.wait(20) == 0


class TestTheWorkerAloneStops:
    """HUP: the arbiter's next worker accepts what is queued."""

    @pytest.mark.slow
    @pytest.mark.parametrize("name", WORKERS)
    @pytest.mark.parametrize("transport", ["tcp", "unix"])
    def test_hup(self, run_server, name, transport):
        """Nothing is lost, and the listener is as it was."""
        with run_server(name, transport, binds_itself=True) as server:
            old = pid_of(server)
            with held(old), asking(server) as responses:
                server.process.send_signal(signal.SIGHUP)
                assert {each.result().status for each in responses} == {200}
            wait_for(lambda: workers_of(server) != [] and old not in workers_of(server), "its end")
            assert pid_of(server) != old

    @pytest.mark.slow
    @pytest.mark.parametrize("name", WORKERS)
    def test_max_requests(self, run_server, name):
        """With one worker, again and again; every client is answered in the end."""
        options = "--max-requests", "10"
        with run_server(name, "tcp", *options, binds_itself=True) as server:
            for _ in range(3):
                with asking(server) as responses:
                    assert {each.result().status for each in responses} == {200}


def workers_of(server):
    pid = server.process.pid
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(each) for each in file.read().split()]


def worker_of(server):
    (pid,) = workers_of(server)
    return pid


class TestLastAccepts:
    """The calls below: a listening socket without a server."""

    @pytest.fixture(params=["tcp", "tcp6", "unix"])
    def listening(self, request, tmp_path):
        """A listening socket of each family."""
        if request.param == "unix":
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(str(tmp_path / "s"))
        elif request.param == "tcp6":
            sock = socket.socket(socket.AF_INET6)
            sock.bind(("::1", 0))
        else:
            sock = socket.create_server(("127.0.0.1", 0))
        sock.listen(16)
        sock.settimeout(0)
        with sock:
            yield sock

    def dial(self, stack, listening):
        sock = stack.enter_context(socket.socket(listening.family))
        sock.settimeout(20)
        sock.connect(listening.getsockname())
        return sock

    def test_none_is_lost_at_the_close(self, listening, stack):
        """What is queued comes out of the close, and lives."""
        family = listening.family
        clients = [self.dial(stack, listening) for _ in range(5)]
        found = close_when_empty(listening)
        assert listening.fileno() < 0
        assert not any(os.get_inheritable(each) for each in found)
        names = [peer_of(each, family) for each in found]
        assert names == [each.getsockname() for each in clients]
        for descriptor, client in zip(found, clients, strict=True):
            with socket.socket(fileno=descriptor) as sock:
                sock.sendall(b"x")
                assert client.recv(1) == b"x"

    def test_refusing(self, listening, stack):
        """Who comes later is refused, at the latest when the socket is closed; the queue stays."""
        first = self.dial(stack, listening)
        refuse(listening)
        late = []

        def come_late():
            try:
                self.dial(stack, listening)
            except OSError as exc:
                late.append(exc)

        name = listening.getsockname()
        sock, _ = listening.accept()
        with sock:
            with contextlib.closing(listening):
                refused_at_once = threading.Thread(target=come_late)
                refused_at_once.start()
                if listening.family == socket.AF_UNIX:
                    refused_at_once.join(20)
                with pytest.raises(BlockingIOError):
                    listening.accept()
            refused_at_once.join(20)
            assert [type(each) for each in late] in ([ConnectionRefusedError], [OSError]), name
            sock.sendall(b"x")
            assert first.recv(1) == b"x"


class TestListeners:
    """Who else has the listening sockets."""

    class Config:
        """The settings that are asked for."""

        address = (("127.0.0.1", 0),)

    class Gunicorns:
        """gunicorn's wrapper of a socket."""

        def __init__(self, sock):
            self.sock = sock

    def test_the_pipe(self):
        """It is closed with the arbiter's listener, and only then."""
        wrapper = self.Gunicorns(socket.create_server(("127.0.0.1", 0)))
        watched = _listeners.Listeners([wrapper], self.Config).watched
        assert watched is not None
        workers = os.dup(watched)
        wrapper.sock.close()
        wrapper.sock = None
        assert os.read(workers, 1) == b""
        os.close(workers)

    def test_none(self):
        """Where each worker has sockets of its own, nobody else accepts."""
        assert _listeners.Listeners([], self.Config).watched is None
