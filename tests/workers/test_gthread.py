"""What the thread worker does with its threads, its poller and its count of connections."""

from __future__ import annotations

import signal

import pytest
from servers import wait_for


class TestStopping:
    """A graceful stop."""

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
