"""Where a request and a response begin and end on the wire, on every server."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading

import pytest
from servers import wait_for


def recorded(server, key, before):
    """Wait for what the application has recorded under `key` behind the first `before` events."""

    def find():
        return [each for each in server.events()[before:] if key in each]

    return wait_for(find, f"a record of {key}")


def logged(server, start):
    """Give what the server has logged from `start` on."""
    return server.log.read_bytes()[start:].decode()


def log_length(server):
    return server.log.stat().st_size


def rest_or_reset(client):
    """Read to the end, be it a reset; give what there was."""
    data, client.buffered = client.buffered, b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while more := client.sock.recv(65536):
            data += more
    return data


class TestBodiesCutOff:
    """A body whose end is the stream's end is not whole (RFC 9112, section 8; gunicorn#3234)."""

    @pytest.mark.parametrize("by", ["all", "pieces", "lines"])
    @pytest.mark.parametrize(
        ("header", "sent"),
        [
            ("Content-Length: 100000", b"x" * 50_000),
            ("Content-Length: 100000", b""),
            ("Transfer-Encoding: chunked", b"c350\r\n" + b"x" * 50_000 + b"\r\n"),
            ("Transfer-Encoding: chunked", b"186a0\r\n" + b"x" * 50_000),
            ("Transfer-Encoding: chunked", b"c350\r\n" + b"x" * 50_000),
            ("Transfer-Encoding: chunked", b"c3"),
        ],
        ids=["half", "none", "between chunks", "in a chunk", "behind a chunk", "in a size"],
    )
    def test_client_leaves(self, server, header, sent, by):
        """The view gets ClientDisconnected, as on Werkzeug's server, and the log no traceback."""
        before, start = len(server.events()), log_length(server)
        with server.connect() as client:
            client.get(f"/body?by={by}", header, method="POST", body=sent)
            wait_for(lambda: server.sequences() == ["NA"], "ACTIVE")
        (found,) = recorded(server, "body", before)
        assert found["body"][0] == "ClientDisconnected"
        server.wait_sequences("NAC")
        assert server.closed()[0]["reason"] in {"CLIENT", "AFTER_RESPONSE"}
        assert "Traceback" not in logged(server, start)

    @pytest.mark.parametrize("header", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
    def test_client_resets(self, server, header):
        """A reset amid the body is no failure of the application's either."""
        before, start = len(server.events()), log_length(server)
        client = server.connect()
        client.get("/body", header, method="POST", body=b"186a0\r\nabc")
        wait_for(lambda: server.sequences() == ["NA"], "ACTIVE")
        client.reset()
        (found,) = recorded(server, "body", before)
        assert found["body"][0] == "ClientDisconnected"
        server.wait_sequences("NAC")
        assert "Traceback" not in logged(server, start)

    def test_half_closed(self, server):
        """A client that says FIN amid the body, and still reads, is told 400."""
        if server.transport == "tls":
            pytest.skip("Python's ssl module cannot half-close")
        with server.connect() as client:
            client.get("/body", "Content-Length: 10", method="POST", body=b"12345")
            client.sock.shutdown(1)
            answer = client.response()
            assert (answer.status, answer.headers["connection"]) == (400, "close")
        server.wait_sequences("NAC")

    def test_whole(self, server):
        """A body that is whole is read whole, and the connection kept."""
        with server.connect() as client:
            for header, sent in (
                ("Content-Length: 50000", b"x" * 50_000),
                ("Transfer-Encoding: chunked", b"c350\r\n" + b"x" * 50_000 + b"\r\n0\r\n\r\n"),
            ):
                answer = client.request("/body", header, method="POST", body=sent)
                assert (answer.status, answer.json) == (200, {"length": 50_000})
                if not server.keeps_alive:
                    break
                assert answer.headers["connection"] == "keep-alive"


class TestDeadlinesForAll:
    """Deadlines that `before_request` sets: a slow body is answered, in one line."""

    @pytest.mark.parametrize("header", ["Content-Length: 10", "Transfer-Encoding: chunked"])
    def test_slow_body(self, server, header):
        """The answer is 408, the connection is closed, and the log has no traceback.

        To the view it is a TimeoutError, as `set_deadlines` says.
        """
        before, start = len(server.events()), log_length(server)
        with server.connect() as client:
            client.get("/body", header, "X-Read-Deadline: 0.2", method="POST", body=b"8\r\n12")
            answer = client.response()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert client.rest() == b""
        (found,) = recorded(server, "body", before)
        assert {"TimeoutError", "RequestTimeout"} <= set(found["body"])
        server.wait_sequences("NAC")
        assert "Traceback" not in logged(server, start)


@pytest.fixture(scope="module")
def single(run_server):
    """The development server with one thread."""
    with run_server("werkzeug", "tcp", "--without-threads", app="framing:app") as server:
        yield server


class TestLeftovers:
    """What nobody reads of a body is thrown away, and its rest is not waited for."""

    def test_a_client_that_stays(self, server):
        """A part of an unread body behind the head: the connection is closed all the same.

        A twin of pallets/werkzeug's drain, which reads until the client has left.
        """
        before = len(server.events())
        with server.connect() as client:
            client.get(
                "/unread-but-there", "Content-Length: 1000", "Connection: close", method="POST"
            )
            recorded(server, "unread", before)
            client.send(b"x" * 10)
            answer = client.response()
            assert (answer.status, answer.json) == (200, {"came": True})
            assert client.rest() == b""
            server.wait_sequences("NAC")
        assert server.closed()[0]["reason"] == "AFTER_RESPONSE"

    def test_without_threads(self, single):
        """On a server of one thread the next client is served meanwhile."""
        before = len(single.events())
        with single.connect() as client, single.connect() as other:
            client.get("/unread-but-there", "Content-Length: 1000", method="POST")
            recorded(single, "unread", before)
            client.send(b"x" * 10)
            assert client.response().status == 200
            assert other.request("/").status == 200

    def test_a_dribbler(self, single):
        """One that never stops sending is not read for ever."""
        pace = threading.Event()
        single.mark()
        with single.connect() as client:
            client.get("/unread-but-there", "Content-Length: 100000", method="POST")
            for _ in range(4000):
                pace.wait(0.003)
                try:
                    client.send(b"x")
                except OSError:
                    break
            else:
                pytest.fail("it was read for longer than 12 seconds")
        single.wait_sequences("NAC")


class TestChunks:
    """Chunked syntax (RFC 9112, section 7.1), whole."""

    @pytest.mark.parametrize(
        "sent",
        [
            b"5;name=value\r\nhello\r\n0\r\n\r\n",
            b'5 ; a="b;c"; d\r\nhello\r\n0;last\r\n\r\n',
            b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
            b"0005\r\nhello\r\n000\r\n\r\n",
        ],
        ids=["extension", "quoted", "trailers", "zeros"],
    )
    def test_read(self, server, sent):
        """Extensions and trailers are no part of the body, and no error."""
        with server.connect() as client:
            client.get("/body", "Transfer-Encoding: chunked", method="POST", body=sent)
            answer = client.response()
            assert (answer.status, answer.json) == (200, {"length": 5})

    @pytest.mark.parametrize(
        "sent",
        [b"x\r\n", b"-1\r\n", b"\r\n", b"1_0\r\n", b"2\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n"],
    )
    def test_refused(self, server, sent):
        """What is no chunk is the client's mistake: 400, close, and no traceback in the log."""
        start = log_length(server)
        with server.connect() as client:
            client.get("/body", "Transfer-Encoding: chunked", method="POST", body=sent)
            answer = client.response()
            assert (answer.status, answer.headers["connection"]) == (400, "close")
            assert client.rest() == b""
        assert "Traceback" not in logged(server, start)


@pytest.mark.parametrize("path", ["/say-101", "/say-101-async"])
class TestUpgrade:
    """``101 Switching Protocols`` is HTTP/1.1's (RFC 9110, section 15.2)."""

    def test_http_1_0(self, server, path):
        """A client of HTTP/1.0 is not sent any; the error names its version."""
        with server.connect() as client:
            answer = client.request(path, version="1.0")
            assert (answer.status, answer.json["error"]) == (200, "UnsupportedError")
            assert "HTTP/1.0" in answer.json["text"]
        server.wait_sequences("NAC")

    def test_http_1_1(self, server, path):
        """One of HTTP/1.1 is."""
        with server.connect() as client:
            client.get(path)
            assert client.rest().startswith(b"HTTP/1.1 101 ")


class TestShortResponses:
    """A response whose body is shorter than its head said ends its connection, as in Go."""

    @pytest.mark.parametrize("how", ["count=40", "count=0", "count=40&stream", "count=0&stream"])
    def test_closed(self, server, how):
        """What comes next would be read as its rest; the log says why."""
        start = log_length(server)
        with server.connect() as client:
            client.get(f"/short?{how}")
            with contextlib.suppress(OSError):
                client.get("/")
            assert rest_or_reset(client).count(b"HTTP/1.1 ") <= 1
        server.wait_sequences("NAC")
        wait_for(lambda: "shorter than its Content-Length" in logged(server, start), "the log")

    @pytest.mark.parametrize("args", ["start=0&length=60", "start=20"])
    def test_file(self, server, args):
        """A file that the kernel sends has no more than it has."""
        start = log_length(server)
        with server.connect() as client:
            client.get(f"/short-file?{args}")
            with contextlib.suppress(OSError):
                client.get("/")
            assert rest_or_reset(client).count(b"HTTP/1.1 ") <= 1
        server.wait_sequences("NAC")
        wait_for(lambda: "shorter than its Content-Length" in logged(server, start), "the log")

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("HEAD", "/short?count=0"),
            ("HEAD", "/short?count=40"),
            ("GET", "/short?count=0&status=304"),
            ("GET", "/short-file?start=0"),
            ("GET", "/short-file?start=0&length=20"),
        ],
    )
    def test_kept(self, gthread, method, path):
        """A response without a body, and one that is whole, keep theirs."""
        start = log_length(gthread)
        with gthread.connect() as client:
            client.get(path, method=method)
            head, client.buffered = client._until(b"\r\n\r\n")
            if "file" in path:
                client._exactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
            assert client.request("/").json["requests"] == 2
        assert "shorter" not in logged(gthread, start)


class TestUnreadBodies:
    """A close that is coming is announced in the head (nginx answers 502 otherwise)."""

    @pytest.mark.parametrize(
        ("path", "header", "sent", "kept"),
        [
            ("/unread", "Content-Length: 65535", b"x" * 65535, True),
            ("/unread", "Content-Length: 65536", b"x" * 65536, False),
            ("/unread", "Content-Length: 200000", b"x" * 200_000, False),
            ("/unread-stream?read=0", "Content-Length: 200000", b"x" * 200_000, False),
            ("/unread-stream?read=199000", "Content-Length: 200000", b"x" * 200_000, True),
            ("/unread", "Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", False),
            ("/body", "Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", True),
        ],
    )
    def test_head(self, gthread, path, header, sent, kept):
        """It says `close` where the rest is too much to read, and the connection is closed."""
        with gthread.connect() as client:
            sending = threading.Thread(target=send_all, args=(client, path, header, sent))
            sending.start()
            answer = client.response()
            sending.join()
            assert answer.status == 200
            assert answer.headers["connection"] == ("keep-alive" if kept else "close")
            if kept:
                assert client.request().json["requests"] == 2
            else:
                assert client.at_eof()

    @pytest.mark.parametrize(
        ("say", "closes"),
        [
            ("close", True),
            ("Close", True),
            ("keep-alive, close", True),
            ("keep-alive", False),
            ("x-closed", False),
        ],
    )
    def test_what_the_application_says(self, gthread, say, closes):
        """Its own `Connection: close` is heard; RFC 9112, section 9.6."""
        with gthread.connect() as client:
            answer = client.request(f"/own-headers?say={say.replace(' ', '%20')}")
            assert answer.headers["connection"] == ("close" if closes else "keep-alive")
            if closes:
                assert client.rest() == b""
                gthread.wait_sequences("NAC")
            else:
                assert client.request().json["requests"] == 2


def send_all(client, path, header, sent):
    """Send a request, of whose body the server may read no more than it likes."""
    with contextlib.suppress(OSError):
        client.get(path, header, method="POST", body=sent)
