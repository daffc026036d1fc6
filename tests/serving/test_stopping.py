"""The development server's end: Control-C, and `shutdown()`."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from servers import Client, client_context, wait_for

from flask_rawsocket import RawSocket
from flask_rawsocket.serving import make_server

CLIENTS = 8


def ask(server, sock):
    with contextlib.closing(sock):
        if server.transport == "tls":
            sock = client_context().wrap_socket(sock, server_hostname="localhost")
        with Client(sock) as client:
            return client.request("/").status


@pytest.mark.slow
class TestControlC:
    """The first one loses nothing; the second one does not wait."""

    @pytest.mark.parametrize("options", [(), ("--without-threads",)], ids=["threaded", "single"])
    def test_what_the_kernel_has_accepted(self, run_server, transport, options):
        """werkzeug#2284: what was queued is answered, and what comes later refused."""
        with run_server("werkzeug", transport, *options) as server:
            os.kill(server.process.pid, signal.SIGSTOP)
            with ThreadPoolExecutor(CLIENTS) as pool:
                sockets = [server.raw() for _ in range(CLIENTS)]
                found = [pool.submit(ask, server, each) for each in sockets]
                server.process.send_signal(signal.SIGINT)
                os.kill(server.process.pid, signal.SIGCONT)
                assert {each.result() for each in found} == {200}
            assert server.process.wait(20) == 0
            with pytest.raises(OSError):  # noqa: PT011
                server.raw()

    def test_a_request_in_hand(self, run_server):
        """werkzeug#770 made its threads daemons: the end of the process cut them off."""
        with run_server("werkzeug") as server, server.connect() as client:
            client.get("/slow?seconds=1.5")
            wait_for(lambda: server.sequences()[-1:] == ["NA"], "the request")
            server.process.send_signal(signal.SIGINT)
            assert client.response().status == 200
            assert server.process.wait(20) == 0

    def test_twice(self, run_server):
        """Whoever does not want to wait for a request asks again."""
        with run_server("werkzeug", app="stopping:app") as server, server.connect() as client:
            client.get("/long?seconds=30")
            wait_for(lambda: {"long": "begun"} in server.events(), "the request")
            server.process.send_signal(signal.SIGINT)
            wait_for(lambda: {"told": 0.0} in server.events(), "the stop")
            server.process.send_signal(signal.SIGINT)
            server.process.wait(4)
            assert client.at_eof()
            assert server.closed()[-1]["reason"] == "SHUTDOWN"


def test_shutdown():
    """`shutdown()`: what has been queued beside the request in hand is answered."""
    app = Flask("shutdown")
    RawSocket(app)
    begun, go_on = threading.Event(), threading.Event()

    @app.get("/")
    def view():
        begun.set()
        go_on.wait(20)
        return "answer"

    server = make_server("127.0.0.1", 0, app)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    address = server.server_address

    def ask_once():
        import socket  # noqa: PLC0415

        with Client(socket.create_connection(address, 20)) as client:
            connected.release()
            return client.request("/").body

    connected = threading.Semaphore(0)
    with ThreadPoolExecutor(CLIENTS) as pool:
        found = [pool.submit(ask_once) for _ in range(CLIENTS)]
        for _ in range(CLIENTS):
            assert connected.acquire(timeout=20)
        assert begun.wait(20)
        stopping = threading.Thread(target=server.shutdown)
        stopping.start()
        wait_for(lambda: server._BaseServer__shutdown_request, "the stop")
        go_on.set()
        assert {each.result(20) for each in found} == {b"answer"}
    stopping.join(20)
    serving.join(20)
    assert not serving.is_alive()
