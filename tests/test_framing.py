"""Where a request and a response begin and end on the wire, on every server."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import gunicorn
import pytest
import wsproto
from servers import GUNICORN, PATIENCE, client_context, wait_for

pytestmark = pytest.mark.slow


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
                assert answer.headers.get("connection", "keep-alive") == "keep-alive"


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

    def test_a_further_read(self, server):
        """What came of a chunked body before the deadline is not taken for all of it."""
        before = len(server.events())
        with server.connect() as client:
            headers = "Transfer-Encoding: chunked", "X-Read-Deadline: 0.2"
            client.get("/body-again", *headers, method="POST", body=b"8\r\n12")
            answer = client.response()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert client.rest() == b""
        (found,) = recorded(server, "found", before)
        assert found["found"] == ["ReadDeadlineError", "ReadDeadlineError", "UnsupportedError"]

    @pytest.mark.parametrize("fails_by", ["ReadDeadlineError", "ClientDisconnected"])
    def test_a_further_read_of_a_known_length(self, server, fails_by):
        """It has all of the body, or fails again; a part is never taken for all."""
        before = len(server.events())
        headers = ["Content-Length: 8", "Upgrade: x"]  # which no worker reads ahead
        if fails_by == "ReadDeadlineError":
            headers.append("X-Read-Deadline: 0.2")
        with server.connect() as client:
            client.get("/lines-again", *headers, method="POST", body=b"12\n45")
            if fails_by == "ClientDisconnected":
                socket.socket.shutdown(client.sock, socket.SHUT_WR)
            recorded(server, "failed", before)
            if fails_by == "ReadDeadlineError":
                client.send(b"\n78")
            (found,) = recorded(server, "found", before)
        first, second = found["found"]
        assert first == fails_by
        keeps = server.name not in GUNICORN or gunicorn.version_info >= (27,)
        whole = fails_by == "ReadDeadlineError" and keeps
        assert second == ("12\n45\n78" if whole else fails_by)


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
        if server.name == "sync" and gunicorn.version_info < (27, 0):
            pytest.skip("gunicorn before 27.0 resets a connection with unread bytes")
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
        if server.name == "gevent_pywsgi" and b" ;" in sent:
            pytest.skip("gevent's parser wants no space before an extension")
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
            ("/unread", "Content-Length: 65536", b"x" * 1000, False),
            ("/unread", "Content-Length: 200000", b"", False),
            ("/unread-stream?read=0", "Content-Length: 200000", b"x" * 1000, False),
            ("/unread-stream?read=199000", "Content-Length: 200000", b"x" * 200_000, True),
            ("/unread", "Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", False),
            ("/body", "Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", True),
        ],
    )
    def test_head(self, gthread, path, header, sent, kept):
        """It says `close` where the rest is too much to read, and the connection is closed."""
        with gthread.connect() as client:
            answer = client.request(path, header, method="POST", body=sent)
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


class TestNoRequest:
    """Bytes that are none of a request (haproxy#1708, websockify#504)."""

    @pytest.mark.parametrize("empty", [b"\r\n", b"\r\n\r\n", b"\n", b"\r"])
    def test_before_the_first(self, server, empty):
        """Empty lines before a request are skipped (RFC 9112, 2.2), and make no ACTIVE of NEW."""
        with server.connect() as client:
            client.send(empty)
            wait_for(lambda: server.sequences() == ["N"], "NEW")
            client.send(empty)
            client.send(empty + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert client.response().status == 200
        server.wait_sequences("NAC")

    def test_nothing_else(self, server):
        """A client that sends nothing else has sent nothing."""
        with server.connect() as client:
            client.send(b"\r\n")
            wait_for(lambda: server.sequences() == ["N"], "NEW")
        server.wait_sequences("NC")
        assert server.closed()[0]["reason"] == "CLIENT"

    @pytest.mark.parametrize("later", [False, True])
    def test_behind_a_body(self, gthread, later):
        """One behind a body, as old browsers send it, is no request: IDLE, and no thread held.

        It held a thread for ten seconds, and then an unsolicited 408 was the answer to the client's
        next request.
        """
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(gthread.connect()) for _ in range(6)]
            for client in clients:
                extra = b"" if later else b"\r\n"
                client.get("/body", "Content-Length: 5", method="POST", body=b"hello" + extra)
                assert client.response().json == {"length": 5}
                if later:
                    client.send(b"\r\n")
            gthread.wait_sequences(*["NAI"] * 6)
            for client in clients:
                answer = client.request("/")
                assert (answer.status, answer.json["requests"]) == (200, 2)
            gthread.wait_sequences(*["NAIAI"] * 6)

    @pytest.mark.parametrize("kept", [False, True])
    def test_a_part_of_a_tls_record(self, shared_servers, kept):
        """It is nothing yet: no thread is held, no clock runs, and the connection stays good."""
        server = shared_servers("gthread", "tls")
        server.mark()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(TLSClient(server)) for _ in range(6)]
            for client in clients:
                if kept:
                    client.send(REQUEST)
                    assert client.answer().startswith(b"HTTP/1.1 200")
                client.send_part(REQUEST)
            expected = "NAI" if kept else "N"
            server.wait_sequences(*[expected] * 6)
            with server.connect() as other:
                assert other.request("/", "Connection: close").status == 200
            for client in clients:
                client.send_rest()
                assert client.answer().startswith(b"HTTP/1.1 200")
            server.wait_sequences(*[expected + "AI"] * 6, "NAC")

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
    def test_a_key_update(self, shared_servers):
        """A TLS KeyUpdate on an idle connection leaves it idle, and good."""
        server = shared_servers("gthread", "tls")
        server.mark()
        address = ":".join(map(str, server.address))
        command = ["openssl", "s_client", "-connect", address, "-tls1_3", "-crlf"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as client:
            client.stdin.write(b"GET / HTTP/1.1\nHost: a\n\n")
            client.stdin.flush()
            server.wait_sequences("NAI")
            client.stdin.write(b"K\n")  # which the program takes for a command
            client.stdin.flush()
            said = b""
            while b"KEYUPDATE" not in said:
                said += client.stdout.read1()
            with server.connect() as other:
                assert other.request("/", "Connection: close").status == 200
            server.wait_sequences("NAI", "NAC")
            client.stdin.write(b"GET / HTTP/1.1\nHost: a\n\n")
            client.stdin.flush()
            server.wait_sequences("NAIAI", "NAC")
            client.kill()

    def test_no_longer_than_its_time(self, run_server):
        """A client that sends nothing but empty lines is let go as one that sends nothing."""
        options = "--keep-alive", "1"
        with run_server("gthread", "tcp", *options, app="framing:app") as server:
            server.mark()
            with server.connect() as client:
                assert client.request("/").status == 200

                def gone():
                    with contextlib.suppress(OSError):
                        client.send(b"\r\n")
                    return server.sequences() == ["NAIC"]

                wait_for(gone, "CLOSED", 6)
            assert server.closed()[0]["reason"] == "KEEPALIVE_TIMEOUT"


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class TLSClient:
    """A client that sends its TLS records in the pieces it likes."""

    def __init__(self, server):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(
            self.incoming, self.outgoing, server_hostname="localhost"
        )
        self.sock = server.raw()
        self.rest = b""
        self._call(self.tls.do_handshake)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.sock.close()

    def _call(self, function, *args):
        while True:
            try:
                result = function(*args)
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))
            else:
                self.sock.sendall(self.outgoing.read())
                return result

    def send(self, data):
        self._call(self.tls.write, data)

    def send_part(self, data):
        self.tls.write(data)
        record = self.outgoing.read()
        self.sock.sendall(record[:7])
        self.rest = record[7:]

    def send_rest(self):
        self.sock.sendall(self.rest)

    def answer(self):
        said = self._call(self.tls.read, 65536)
        while not (found := re.search(rb"Content-Length: (\d+).*?\r\n\r\n", said, re.DOTALL)):
            said += self._call(self.tls.read, 65536)
        while len(said) < found.end() + int(found[1]):
            said += self._call(self.tls.read, 65536)
        return said


class TestTimeoutsOfAView:
    """What a view does to its socket's timeout ends with its request."""

    @pytest.mark.parametrize("seconds", [20, 0])
    def test_next_request(self, gthread, seconds):
        """The next request of the connection finds it as it was."""
        with gthread.connect() as client:
            for _ in range(2):
                answer = client.request(f"/settimeout?seconds={seconds}")
                assert answer.json == {"before": None}

    @pytest.mark.parametrize("path", ["/settimeout?seconds=20", "/settimeout?seconds=20&linger"])
    def test_nobody_waits_for_it(self, server, path):
        """The lingering close, on the thread worker's main thread, does not wait for it.

        It did, and the server served nobody for 20 seconds.
        """
        if server.name == "werkzeug":
            pytest.skip("it has no lingering close")
        with server.connect() as client:
            client.get(path, "Connection: close")
            assert client.response().status == 200  # and the client does not close
            began = time.monotonic()
            with server.connect() as other:
                assert other.request("/", "Connection: close").status == 200
            assert time.monotonic() - began < 10


class TestUwsgi:
    """gunicorn's uwsgi protocol: an end of the stream is no broken packet."""

    @pytest.mark.parametrize("worker", ["gthread", "sync"])
    def test_ends(self, run_server, worker):
        """A connection that its client has closed is CLOSED as CLIENT, without a traceback."""
        variables = {"REQUEST_METHOD": "GET", "PATH_INFO": "/keep", "HTTP_HOST": "a"}
        packed = b"".join(
            len(each).to_bytes(2, "little") + each.encode()
            for pair in variables.items()
            for each in pair
        )
        packet = b"\0" + len(packed).to_bytes(2, "little") + b"\0" + packed
        with run_server(worker, "tcp", "--protocol", "uwsgi", app="framing:app") as server:
            start = log_length(server)
            for sent, expected in (b"", "NC"), (packet[:2], "NAC"), (packet[:9], "NAC"):
                server.mark()
                with server.raw() as sock:
                    sock.sendall(sent)
                server.wait_sequences(expected)
                assert server.closed()[0]["reason"] == "CLIENT"
            server.mark()
            with server.raw() as sock:
                sock.sendall(packet)
                said = b""
                while b"kept" not in said:
                    said += sock.recv(65536)
            server.wait_sequences("NAIC" if server.keeps_alive else "NAC")
            assert server.closed()[0]["reason"] in {"CLIENT", "AFTER_RESPONSE"}
            assert "Traceback" not in logged(server, start)


def test_recipe_of_the_docs():
    """The WebSocket of `docs/hijacking.md` ends after a violation (Autobahn 6.4.1 hung)."""
    text = (Path(__file__).parent.parent / "docs/hijacking.md").read_text()
    code = re.search(r"^def echo_messages.*?(?=^```)", text, re.DOTALL | re.MULTILINE)[0]
    names = {
        "websocket": wsproto.connection,
        "events": wsproto.events,
        "RemoteProtocolError": wsproto.utilities.RemoteProtocolError,
        "ConnectionBrokenError": ConnectionError,
    }
    exec(code, names)
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    with theirs:
        # The first frame of a text message that is no UTF-8; the message goes on.
        theirs.sendall(b"\x01\x83" + bytes(4) + b"\xff\xfe\xfd")
        names["echo_messages"](ours)
        said = theirs.recv(100)
        assert (said[0], said[2:4]) == (0x88, (1007).to_bytes(2))
