"""Requests that come in parts: no thread waits for them, and nothing of them is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import Client, ask, client_context, is_quiet, wait_for

pytestmark = pytest.mark.slow

THREADS = 4
SMALL = 1000
"""The bytes of a body that the worker `small` reads ahead."""


@pytest.fixture(scope="module")
def workers(run_server):
    """Workers of this file, by the name of what is special about them."""
    special = {
        "usual": {},
        "small": {"env": {"CONTRACT_RAWSOCKET_BODY_BUFFER": str(SMALL)}},
        "single": {"options": ["--threads", "1"]},
        "patient": {"env": {"CONTRACT_RAWSOCKET_HEADER_TIMEOUT": "4"}},
        "hurried": {"env": {"CONTRACT_RAWSOCKET_HEADER_TIMEOUT": "1"}},
        "proxied": {"options": ["--proxy-protocol", "auto"]},
        "uwsgi": {"options": ["--protocol", "uwsgi"]},
    }
    with contextlib.ExitStack() as stack:
        started = {}

        def get(what, transport="tcp"):
            if (what, transport) not in started:
                kwargs = dict(special[what])
                options = kwargs.pop("options", ())
                context = run_server("gthread", transport, *options, app="framing:app", **kwargs)
                started[what, transport] = stack.enter_context(context)
            started[what, transport].mark()
            return started[what, transport]

        yield get


@pytest.fixture
def usual(workers, transport):
    return workers("usual", transport)


@pytest.fixture
def small(workers, transport):
    return workers("small", transport)


def post(path, length, body=b""):
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode() + body


CHUNKED = b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

PARTS = {
    "a head": (b"GET / HTTP/1.1\r\nHo", b"st: a\r\n\r\n"),
    "an empty line, and a byte": (b"\r\nG", b"ET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "the end of a head": (GET[:-1], b"\n"),
    "a body": (post("/body", 10, b"01234"), b"56789"),
    "a body of which nothing has come": (post("/body", 10), b"0123456789"),
    "a chunked body": (CHUNKED + b"5\r\nhel", b"lo\r\n5\r\nworld\r\n0\r\n\r\n"),
    "a chunked body without its end": (CHUNKED + b"a\r\nhelloworld\r\n0\r\n", b"\r\n"),
}
"""Requests in two parts; the bodies have 10 bytes."""


def body_came(response):
    """Tell whether the answer is that of `/`, or says that the body was whole."""
    return response.status == 200 and response.json.get("length", 10) == 10


class TestPeersThatWait:
    """Whoever has said a part, however many there are, holds up nobody."""

    @pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
    def test_others_are_answered(self, usual, parts):
        """Beside more such clients than threads another is answered; and then all of them."""
        first, second = parts
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(usual.connect()) for _ in range(2 * THREADS)]
            for each in clients:
                each.send(first)
            wait_for(lambda: usual.sequences().count("NA") == len(clients), "all to be ACTIVE")
            for _ in range(3):
                assert ask(usual).status == 200
            assert usual.sequences()[: len(clients)] == ["NA"] * len(clients)
            for each in clients:
                each.send(second)
            assert all(body_came(each.response()) for each in clients)
            assert all(body_came(each.request()) for each in clients)
        wait_for(lambda: is_quiet(usual), "all to be gone")
        assert usual.sequences().count("NAIAIC") == 2 * THREADS

    @pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
    def test_a_byte_at_a_time(self, usual, parts):
        """Over TLS that is a record for each byte."""
        with usual.connect() as client:
            for _ in range(2):
                for byte in b"".join(parts):
                    client.send(bytes([byte]))
                assert body_came(client.response())
        usual.wait_sequences("NAIAIC")

    def test_parts_of_a_tls_record(self, workers):
        """Records that are cut in two, beside which others are answered."""
        server = workers("usual", "tls")
        with contextlib.ExitStack() as stack:
            peers, rests = [], []
            for _ in range(2 * THREADS):
                sock = stack.enter_context(server.raw())
                peers.append((sock, *shake_hands(sock)))
            for sock, tls, _, out in peers:
                tls.write(GET)
                record = out.read()
                sock.sendall(record[:10])
                rests.append(record[10:])
            for _ in range(3):
                assert ask(server).status == 200
            for (sock, tls, into, _), rest in zip(peers, rests, strict=True):
                sock.sendall(rest)
                assert read_some(sock, tls, into).startswith(b"HTTP/1.1 200")

    def test_half_a_hello(self, workers):
        """A TLS hello that is cut in two, beside which others are answered."""
        server = workers("usual", "tls")
        with contextlib.ExitStack() as stack:
            peers = []
            for _ in range(2 * THREADS):
                sock = stack.enter_context(server.raw())
                into, out, tls = tls_of_memory()
                hello = out.read()
                sock.sendall(hello[:50])
                peers.append((sock, tls, into, out, hello[50:]))
            for _ in range(3):
                assert ask(server).status == 200
            for sock, tls, into, out, rest in peers:
                sock.sendall(rest)
                go_on(sock, tls, into, out)
                tls.write(GET)
                sock.sendall(out.read())
                assert read_some(sock, tls, into).startswith(b"HTTP/1.1 200")

    def test_empty_lines(self, usual):
        """They begin no request, and end no waiting."""
        with usual.connect() as client:
            for _ in range(3):
                client.send(b"\r\n")
                client.send(b"\r\n\r\n")
            assert ask(usual).status == 200
            wait_for(lambda: len(usual.sequences()) > 1, "the hooks of NEW")
            assert usual.sequences()[0] == "N"
            assert client.request().json["requests"] == 1
            client.send(b"\r\n")
            assert client.request().json["requests"] == 2
        wait_for(lambda: "NAIAIC" in usual.sequences(), "CLOSED")


def tls_of_memory():
    """Begin a TLS session that writes nowhere; give what it reads, what it writes, and it."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(into, out, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return into, out, tls


def go_on(sock, tls, into, out):
    """Shake hands to the end."""
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            if pending := out.read():
                sock.sendall(pending)
            into.write(sock.recv(65536))
    if pending := out.read():
        sock.sendall(pending)


def shake_hands(sock):
    into, out, tls = tls_of_memory()
    sock.sendall(out.read())
    go_on(sock, tls, into, out)
    return tls, into, out


def read_some(sock, tls, into):
    while True:
        try:
            return tls.read(65536)
        except ssl.SSLWantReadError:
            into.write(sock.recv(65536))


class TestBodies:
    """Bodies, read ahead or not."""

    @pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, SMALL + 1, 20 * SMALL, 400_000])
    @pytest.mark.parametrize("by", ["data", "lines", "pieces"])
    def test_the_view_has_all_of_it(self, small, size, by):
        """However long it is, and however it is read; chunked too."""
        body = random.Random(size).randbytes(size)
        with small.connect() as client:
            client.send(post(f"/body?by={by}", size))
            client.send(body)
            assert client.response().json == {"length": size}
            client.send(post(f"/body?by={by}", size, body) + GET)
            assert client.response().json == {"length": size}
            assert client.response().json["requests"] == 3
            client.send(CHUNKED.replace(b"/body", f"/body?by={by}".encode()))
            for begin in range(0, size, 7000):
                piece = body[begin : begin + 7000]
                client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            client.send(b"0\r\n\r\n")
            assert client.response().json == {"length": size}

    def test_longer_than_the_buffer(self, small):
        """The view is called when the buffer is full, not before, and reads the rest itself."""
        with small.connect() as client:
            client.send(post("/unread", 3 * SMALL, b"x" * (SMALL - 1)))
            wait_for(lambda: small.sequences() == ["NA"], "ACTIVE")
            assert ask(small).status == 200
            client.sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.sock.recv(1)
            client.sock.settimeout(20)
            client.send(b"x")
            assert client.response().json == {"read": 0}  # before the rest was sent
        with small.connect() as client:
            client.send(post("/body", 3 * SMALL, b"x" * SMALL))
            client.send(b"x" * 2 * SMALL)
            assert client.response().json == {"length": 3 * SMALL}

    @pytest.mark.parametrize("size", [10, 3 * SMALL])
    @pytest.mark.parametrize("how", ["close", "reset"])
    @pytest.mark.parametrize("head", ["length", "chunked"])
    def test_a_client_that_dies_amid_it(self, small, size, how, head):
        """The view is called, and told when it reads the body."""
        before = len(small.events())
        client = small.connect()
        if head == "length":
            client.send(post("/body", 2 * size, b"x" * size))
        else:
            client.send(CHUNKED + b"%x\r\n" % (2 * size) + b"x" * size)
        wait_for(lambda: small.sequences() == ["NA"], "ACTIVE")
        client.reset() if how == "reset" else client.close()
        raised = wait_for(
            lambda: [each for each in small.events()[before:] if "body" in each], "the view"
        )
        assert (
            "ClientDisconnected" in raised[0]["body"] or "ConnectionResetError" in raised[0]["body"]
        )
        small.wait_sequences("NAC")
        # A FIN over TCP may be of one half: the answer, a 400, could be sent.
        can_be_answered = small.transport == "tcp" and how == "close"
        reasons = [each["reason"] for each in small.closed()]
        assert reasons == ["AFTER_RESPONSE" if can_be_answered else "CLIENT"]
        wait_for(lambda: is_quiet(small), "it to be gone")

    def test_expect_100(self, usual):
        """The client is told to go on when the view reads."""
        with usual.connect() as client:
            client.get("/body", "Content-Length: 10", "Expect: 100-continue", method="POST")
            head, client.buffered = client._until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 100")
            client.send(b"0123456789")
            assert client.response().json == {"length": 10}

    def test_expect_100_with_the_body(self, usual):
        """A client that does not wait has its answer all the same."""
        with usual.connect() as client:
            client.get(
                "/body",
                "Content-Length: 10",
                "Expect: 100-continue",
                method="POST",
                body=b"0123456789",
            )
            head, client.buffered = client._until(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 100"):
                assert client.response().json == {"length": 10}
            else:
                assert head.startswith(b"HTTP/1.1 200")

    @pytest.mark.parametrize("fields", ["Content-Length: 5\r\nContent-Length: 5", "X: \x00"])
    def test_a_head_that_is_refused(self, usual, fields):
        """It is, although its body never comes."""
        with usual.connect() as client:
            client.send(f"POST /body HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n".encode())
            assert client.response().status == 400

    def test_a_bare_lf(self, usual):
        """It is answered at once; it would hold a thread of older gunicorn's until a timeout."""
        for head in b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: a\n":
            with usual.connect() as client:
                client.send(head)
                assert client.response().status == 400


class TestHijack:
    """A connection that is taken over with bytes read ahead."""

    @pytest.mark.parametrize("read", ["0", "4", "all"])
    @pytest.mark.parametrize("by", ["recv", "file", "exactly"])
    @pytest.mark.parametrize("length", [10, 5 * SMALL])
    def test_what_was_read_ahead(self, small, read, by, length):
        """A body and what comes behind it, read ahead or not, is the owner's, each byte once."""
        body = random.Random(length).randbytes(length)
        behind = b"behind it all"
        had = {"0": 0, "4": 4, "all": length}[read]
        count = length - had + len(behind)
        with small.connect() as client:
            client.send(post(f"/leading?read={read}&count={count}&by={by}", length, body) + behind)
            line, client.buffered = client._until(b"\n")
            assert line == b"%d %d" % (had, count)
            assert client._exactly(had + count) == body + behind
        small.wait_sequences("NAHC")


class TestPipelining:
    """Requests that come together."""

    @pytest.mark.parametrize("what", ["usual", "single"])
    def test_many_in_one_segment(self, workers, transport, what):
        """All are answered, in their order, and others meanwhile."""
        server = workers(what, transport)
        count = 150
        paths = [("GET", "/"), ("POST", "/body"), ("GET", "/stream?n=2")]
        requests = [paths[number % 3] for number in range(count)]
        data = b"".join(
            post(path, 3, b"abc") if method == "POST" else GET.replace(b"/ ", path.encode() + b" ")
            for method, path in requests
        )
        with server.connect() as client:
            client.send(data)
            for number, (_, path) in enumerate(requests):
                response = client.response()
                assert response.status == 200
                if path == "/":
                    assert response.json["requests"] == number + 1
                elif path == "/body":
                    assert response.json == {"length": 3}
                else:
                    assert len(response.body) == 20
        server.wait_sequences("N" + "AI" * count + "C")

    def test_nobody_is_starved(self, workers):
        """Beside clients that pipeline all the time, the single thread has time for another."""
        server = workers("single")
        stop = threading.Event()

        def pipeline():
            with server.connect() as client:
                while not stop.is_set():
                    client.send(20 * GET)
                    for _ in range(20):
                        client.response()

        with ThreadPoolExecutor(3) as clients:
            running = [clients.submit(pipeline) for _ in range(3)]
            try:
                wait_for(lambda: len(server.sequences()) == 3, "all to be there")
                for _ in range(10):
                    assert ask(server).status == 200
                assert not any(each.done() for each in running)
            finally:
                stop.set()
            for each in running:
                each.result()

    def test_a_part_of_the_next_one(self, usual):
        """It is read with the one before, and the rest of it comes later."""
        with usual.connect() as client:
            client.send(GET + GET[:10])
            assert client.response().status == 200
            wait_for(lambda: usual.sequences() == ["NAIA"], "ACTIVE")
            assert ask(usual).status == 200
            client.send(GET[10:])
            assert client.response().json["requests"] == 2
            client.send(GET + post("/body", 10, b"01234"))
            assert client.response().status == 200
            client.send(b"56789")
            assert client.response().json == {"length": 10}
        wait_for(lambda: "NAIAIAIAIC" in usual.sequences(), "CLOSED")


class TestTimeouts:
    """Parts whose rest does not come."""

    @pytest.mark.parametrize("first", [b"G", GET[:-1], b"POST / HTTP/1.1\r\nHost"])
    def test_a_head(self, workers, transport, first):
        """It is answered with 408, and CLOSED as an ERROR, once."""
        server = workers("hurried", transport)
        with server.connect() as client:
            client.send(first)
            assert client.response().status == 408
            assert client.at_eof()
        server.wait_sequences("NAC")
        assert [each["reason"] for each in server.closed()] == ["ERROR"]

    def test_a_handshake(self, workers):
        server = workers("hurried", "tls")
        with server.raw() as sock:
            _, out, _ = tls_of_memory()
            sock.sendall(out.read()[:50])
            assert sock.recv(100) == b""
        server.wait_sequences("NC")
        wait_for(lambda: is_quiet(server), "it to be gone")

    @pytest.mark.slow
    def test_the_oldest_first(self, workers):
        """A head that has dribbled does not wait for the deadline of a later one.

        It may be answered a second late, as deadlines are looked at so often.
        """
        server = workers("patient")
        with server.connect() as old, server.connect() as young:
            old.send(b"G")
            wait_for(lambda: "NA" in server.sequences(), "ACTIVE")
            began = time.monotonic()
            wait_for(lambda: time.monotonic() - began > 2.5, "more than half of its time")
            young.send(b"G")
            wait_for(lambda: server.sequences() == ["NA", "NA"], "both to be ACTIVE")
            old.send(b"E")
            assert old.response().status == 408
            young.sock.settimeout(0)
            with pytest.raises(BlockingIOError):
                young.sock.recv(1)
            young.sock.settimeout(20)
            assert young.response().status == 408

    def test_a_body_is_not_a_head(self, workers):
        """A body may take longer than a head."""
        server = workers("hurried")
        with server.connect() as client, server.connect() as other:
            client.send(post("/body", 10, b"01234"))
            wait_for(lambda: "NA" in server.sequences(), "ACTIVE")
            other.send(b"G")
            assert other.response().status == 408  # a second is over
            client.send(b"56789")
            assert client.response().json == {"length": 10}


@pytest.mark.slow
class TestStops:
    """A stop while requests are half there."""

    @pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
    def test_graceful(self, run_server, parts):
        """The rest may come within the grace, and is answered."""
        first, second = parts
        with run_server("gthread", "tcp", app="framing:app") as server:
            server.mark()
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(server.connect()) for _ in range(2 * THREADS)]
                for each in clients:
                    each.send(first)
                wait_for(lambda: server.sequences().count("NA") == len(clients), "ACTIVE")
                server.process.send_signal(signal.SIGTERM)
                wait_for(
                    lambda: any(each.get("shutdown") for each in server.events()), "on_shutdown"
                )
                for each in clients:
                    each.send(second)
                for each in clients:
                    answer = each.response()
                    assert body_came(answer)
                    assert answer.headers["connection"] == "close"
                    assert each.at_eof()
            assert server.process.wait(20) == 0
            assert "Traceback" not in server.log.read_text()
            assert {each["reason"] for each in server.closed()} == {"AFTER_RESPONSE"}

    def test_whose_rest_never_comes(self, run_server):
        """They end with the grace, as SHUTDOWN, each once."""
        with run_server("gthread", "tcp", "--graceful-timeout", "2", app="framing:app") as server:
            server.mark()
            with contextlib.ExitStack() as stack:
                for first, _ in PARTS.values():
                    stack.enter_context(server.connect()).send(first)
                wait_for(lambda: server.sequences() == ["NA"] * len(PARTS), "all to be ACTIVE")
                assert server.stop() == 0
            assert server.sequences() == ["NAC"] * len(PARTS)
            assert {each["reason"] for each in server.closed()} == {"SHUTDOWN"}
            assert "Traceback" not in server.log.read_text()

    def test_max_requests(self, run_server):
        """A worker that has had enough answers those that are half there, too."""
        with run_server("gthread", "tcp", "--max-requests", "20", app="framing:app") as server:
            server.mark()
            with contextlib.ExitStack() as stack:
                halves = [stack.enter_context(server.connect()) for _ in PARTS]
                for each, (first, _) in zip(halves, PARTS.values(), strict=True):
                    each.send(first)
                wait_for(lambda: server.sequences() == ["NA"] * len(PARTS), "all to be ACTIVE")
                pid = ask(server).json["pid"]
                while "Autorestarting" not in server.log.read_text():
                    assert ask(server).status == 200
                for each, (_, second) in zip(halves, PARTS.values(), strict=True):
                    each.send(second)
                    assert body_came(each.response())
            assert ask(server).json["pid"] != pid
            assert "Traceback" not in server.log.read_text()


def test_worker_connections(run_server):
    """Those that are half there count, and leave room when they have gone."""
    with (
        run_server("gthread", "tcp", "--worker-connections", "6", app="framing:app") as server,
        contextlib.ExitStack() as stack,
    ):
        server.mark()
        halves = [stack.enter_context(server.connect()) for _ in range(6)]
        for each in halves:
            each.send(GET[:10])
        wait_for(lambda: server.sequences() == ["NA"] * 6, "all to be ACTIVE")
        with server.connect() as waiting:
            waiting.send(GET)
            halves[0].send(GET[10:])
            assert halves[0].response().status == 200
            assert server.sequences().count("N") == 0
            halves[0].close()
            assert waiting.response().status == 200


class TestProxyProtocol:
    """A PROXY header before the first request, which comes in parts."""

    V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(
        [192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 0, 80]
    )
    V1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 258 80\r\n"

    @pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
    def test_in_parts(self, workers, transport, header):
        """A byte at a time, and cut in two beside others that are answered."""
        server = workers("proxied", transport)
        with server.connect() as client:
            for byte in header + GET:
                client.send(bytes([byte]))
            proxy = client.response().json["proxy"]
            assert proxy["source"] == ["192.0.2.1", 258]
            assert client.request().json["requests"] == 2
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(2 * THREADS)]
            for cut, each in enumerate(clients, 1):
                each.send(header[:cut])
            assert ask(server).status == 200
            for cut, each in enumerate(clients, 1):
                each.send(header[cut:] + post("/body", 10, b"01234"))
            assert ask(server).status == 200
            for each in clients:
                each.send(b"56789")
                assert each.response().json == {"length": 10}


class TestUwsgi:
    """Packets that come in parts."""

    @staticmethod
    def packet(**variables):
        data = b"".join(
            len(text).to_bytes(2, "little") + text.encode()
            for pair in variables.items()
            for text in pair
        )
        return b"\0" + len(data).to_bytes(2, "little") + b"\0" + data

    def test_in_parts(self, workers):
        """More clients than threads, each with a part of its packet."""
        server = workers("uwsgi")
        packet = self.packet(
            REQUEST_METHOD="POST", PATH_INFO="/body", HTTP_HOST="a", CONTENT_LENGTH="10"
        )
        with contextlib.ExitStack() as stack:
            clients = [Client(stack.enter_context(server.raw())) for _ in range(2 * THREADS)]
            for cut, each in enumerate(clients, 1):
                each.send(packet[: 5 * cut])
            wait_for(lambda: server.sequences() == ["NA"] * len(clients), "all to be ACTIVE")
            with Client(server.raw()) as other:
                other.send(packet + b"0123456789")
                assert other.response().json == {"length": 10}
            for cut, each in enumerate(clients, 1):
                each.send(packet[5 * cut :] + b"0123456789")
                assert each.response().json == {"length": 10}


STORM = int(os.environ.get("STORM", "600"))
"""How many turns a storm has; ``STORM=1500`` and more for a thorough one."""


class Storm:
    """Clients of several kinds, one after the other, until each has had its number of turns."""

    def __init__(self, server, seed):
        self.server = server
        self.random = random.Random(seed)
        self.kinds = [self.plain, self.kept, self.slow, self.upload, self.dies, self.resets]
        self.kinds += [self.silent, self.raw, self.pipelined, self.taken, self.refused]
        self.kinds.append(self.garbage)

    def turn(self):
        kind = self.random.choice(self.kinds)
        with contextlib.suppress(ConnectionError, EOFError, ssl.SSLError):
            kind()

    def plain(self):
        assert ask(self.server).status == 200

    def kept(self):
        with self.server.connect() as client:
            for number in range(1, 5):
                assert client.request().json["requests"] == number

    def slow(self):
        cut = self.random.randrange(1, len(GET))
        with self.server.connect() as client:
            for _ in range(2):
                client.send(GET[:cut])
                client.send(GET[cut:])
                assert client.response().status == 200

    def upload(self):
        size = self.random.choice([0, 1, 100, SMALL, 5 * SMALL, 100_000])
        with self.server.connect() as client:
            client.send(post("/body", size))
            client.send(b"x" * size)
            assert client.response().json == {"length": size}

    def dies(self):
        with self.server.connect() as client:
            client.send(self.random.choice([GET[:5], post("/body", 10, b"x"), CHUNKED + b"5\r\nx"]))

    def resets(self):
        client = self.server.connect()
        client.send(self.random.choice([b"", GET, GET[:5], post("/body", 10, b"x"), 20 * GET]))
        client.reset()

    def silent(self):
        self.server.connect().close()

    def raw(self):
        """Under TLS a client that says nothing that is TLS, or nothing at all."""
        with self.server.raw() as sock:
            sock.sendall(self.random.choice([b"\r\n", b"\x16\x03\x01", b"G"]))

    def pipelined(self):
        with self.server.connect() as client:
            client.send(10 * GET)
            assert [client.response().status for _ in range(10)] == [200] * 10

    def taken(self):
        with self.server.connect() as client:
            client.get(self.random.choice(["/echo", "/echo-thread", "/async"]))
            assert client._exactly(6) == b"HELLO\n"
            client.send(b"ping")
            assert client._exactly(4) == b"ping"

    def refused(self):
        with self.server.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
            assert client.response().status == 400

    def garbage(self):
        with self.server.connect() as client:
            client.send(self.random.randbytes(50))


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("what", ["small", "single"])
def test_a_storm(workers, transport, what):
    """After thousands of connections of all kinds the count is right, and nobody is alive."""
    server = workers(what, transport)
    pid = ask(server).json["pid"]
    turns = STORM if transport != "tls" else STORM * 2 // 5

    def run(seed):
        storm = Storm(server, seed)
        for _ in range(turns // 6):
            storm.turn()

    with ThreadPoolExecutor(6) as clients:
        list(clients.map(run, range(6)))
    wait_for(lambda: is_quiet(server), "1 and 1")
    assert ask(server).json["pid"] == pid
    assert all(each.endswith("C") and each.count("C") == 1 for each in server.sequences()[:-2])
    log = server.log.read_text()
    assert "could not be" not in log
    assert "Exception in thread" not in log
