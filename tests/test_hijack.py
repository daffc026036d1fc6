"""Taking the connection over: one test for each sentence of DESIGN section 6, on every server."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import ssl

import gunicorn
import pytest
from servers import EACH_SERVER_ONCE, wait_for

PLAIN = ["tcp", "unix"]


def begin(client, path, *headers, **kwargs):
    """Send a request and read the new owner's first line."""
    client.get(path, *headers, **kwargs)
    return line(client)


def line(client):
    head, client.buffered = client._until(b"\n")
    return head


@pytest.mark.parametrize("path", ["/echo", "/echo-thread", "/async"])
def test_take_over(server, path):
    """The owner talks, in the view, a thread or on the loop; CLOSED comes when it closes."""
    with server.connect() as client:
        assert begin(client, path) == b"HELLO"
        client.send(b"ping")
        assert client._exactly(4) == b"ping"
        assert server.sequences() == ["NAH"]
    server.wait_sequences("NAHC")
    (event,) = server.closed()
    assert event["usable"]
    assert event["reason"] == "CLIENT"


@pytest.mark.parametrize("path", ["/echo", "/echo-thread", "/async"])
def test_under_a_lazy_middleware(server, path):
    """A middleware that is a generator calls the view late: the server still writes nothing."""
    logged = len(server.log.read_text())
    with server.connect() as client:
        assert begin(client, f"{path}?lazily") == b"HELLO"
        client.send(b"ping")
        assert client._exactly(4) == b"ping"
        if path != "/echo":
            wait_for(lambda: {"middleware": path} in server.events(), "its body to be closed")
            client.send(b"pong")
            assert client._exactly(4) == b"pong"
    server.wait_sequences("NAHC")
    log = server.log.read_text()[logged:]
    assert not re.search(r"Error on request|rror (handling|processing) request", log)


def test_a_lazy_middleware_that_takes_nothing(server):
    """Nothing else changes for it: the response arrives as the application gives it."""
    with server.connect() as client:
        assert client.request("/?lazily").json["requests"] == 1
    with server.connect() as client:
        assert client.request("/fail?lazily").status == 500


def test_the_server_writes_nothing(server):
    """No status line, no chunk and no close: what the owner says is all there is on the wire."""
    with server.connect() as client:
        client.get("/echo-thread")
        assert client._exactly(6) == b"HELLO\n"
        for _ in range(3):
            client.send(b"x" * 1000)
            assert client._exactly(1000) == b"x" * 1000
        if server.transport != "tls":
            client.sock.shutdown(1)
            assert client.rest() == b""
    server.wait_sequences("NAHC")


def test_the_worker_is_free_again(server):
    """A connection that was left to another thread holds no thread and no slot of the server's."""
    with server.connect() as taken:
        assert begin(taken, "/echo-thread") == b"HELLO"

        def settled():
            with server.connect() as client:
                answer = client.request("/", "Connection: close").json
            return answer["nr_conns"] in {None, 1} and answer["alive"] == 2

        for _ in range(6):
            wait_for(settled, "one connection beside the taken one, and that one uncounted")
        taken.send(b"still here")
        assert taken._exactly(10) == b"still here"
    wait_for(lambda: "NAHC" in server.sequences(), "the end of the taken one")


@pytest.mark.parametrize("by", ["recv", "exactly", "file"])
@pytest.mark.parametrize(
    ("read", "size"), [("0", 0), ("0", 100_000), ("10", 50_000), ("all", 5000)]
)
def test_leading_bytes(server, read, size, by):
    """What came with the head, body or not, is given to the owner once and in order."""
    body = bytes(i % 251 for i in range(size))
    extra = b"frames of the new protocol"
    consumed = {"0": 0, "10": 10, "all": size}[read]
    count = size - consumed + len(extra)
    with server.connect() as client:
        headers = [f"Content-Length: {size}"] if size else []
        client.get(
            f"/leading?read={read}&count={count}&by={by}",
            *headers,
            method="POST" if size else "GET",
            body=body + extra,
        )
        assert line(client) == b"%d %d" % (consumed, count)
        assert client.rest() == body + extra
    server.wait_sequences("NAHC")


def test_leading_bytes_in_dribbles(server):
    """Head, body and the rest may come in any pieces."""
    body = bytes(i % 251 for i in range(3000))
    head = b"POST /leading?read=10&count=2990 HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n"
    whole = head + body
    with server.connect() as client:
        for start in range(0, len(whole), 97):
            client.send(whole[start : start + 97])
        assert line(client) == b"10 2990"
        assert client.rest() == body


def test_leading_pipelined_request(gthread):
    """A pipelined request behind the one that hijacks belongs to the owner."""
    with gthread.connect() as client:
        second = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"
        client.send(
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
            b"GET /leading?read=0&count=%d HTTP/1.1\r\nHost: a\r\n\r\n" % len(second) + second
        )
        assert client.response().json["requests"] == 1
        assert line(client) == b"0 %d" % len(second)
        assert client.rest() == second
    gthread.wait_sequences("NAIAHC")


def test_unread_chunked_body(server):
    """Of a chunked body that was not read, the owner gets the chunks as they came."""
    chunks = b"5\r\nhello\r\n0\r\n\r\n"
    with server.connect() as client:
        client.get(
            f"/leading?read=0&count={len(chunks)}",
            "Transfer-Encoding: chunked",
            method="POST",
            body=chunks,
        )
        assert line(client) == b"0 %d" % len(chunks)
        assert client.rest() == chunks


def test_chunked_body_read_whole(server):
    """Behind a chunked body that was read whole come the bytes that follow it."""
    with server.connect() as client:
        client.get(
            "/leading?read=all&count=4",
            "Transfer-Encoding: chunked",
            method="POST",
            body=b"5\r\nhello\r\n0\r\n\r\nnext",
        )
        assert line(client) == b"5 4"
        assert client.rest() == b"hellonext"


def test_a_view_that_fails_afterwards(server):
    """An exception after the hijack is logged; no 500 is written, and nothing is closed twice."""
    with server.connect() as client:
        client.get("/raise-after")
        assert client._exactly(6) == b"foobar"
        client.send(b"x")
        assert client.rest() == b""
    server.wait_sequences("NAHC")
    wait_for(lambda: "after it has taken" in server.log.read_text(), "the log")


def test_a_response_that_fails_when_it_is_closed(server):
    """What the view returns may fail in its close(): it is logged, and the owner's go on."""
    with server.connect() as client:
        client.get("/call-on-close")
        assert client._exactly(6) == b"foobar"
        wait_for(
            lambda: "a response that fails when it is closed" in server.log.read_text(), "the log"
        )
        client.send(b"x")
        assert client.rest() == b""
    server.wait_sequences("NAHC")
    assert server.closed()[0]["reason"] == "APP"


def test_a_duplicate(server):
    """A duplicate of the stream's socket writes to the client, and its close ends nothing."""
    with server.connect() as client:
        # As any SSLSocket: a TLS session is one object's.
        twin = b"NotImplementedError" if server.transport == "tls" else b"a twin"
        assert begin(client, "/duplicate") == b"HELLO from " + twin
        assert server.sequences() == ["NAH"]
        client.send(b"x")
        assert client.rest() == b""
    server.wait_sequences("NAHC")


def test_twice(server):
    """A second hijack says that there has been a first."""
    with server.connect() as client:
        client.get("/twice")
        assert client.rest().startswith(b"AlreadyHijackedError: <Connection ")


def test_after_the_response_began(server):
    """Once the response has begun it is too late."""
    with server.connect() as client:
        answer = client.request("/too-late", "Connection: close")
        assert answer.body.startswith(b"begun InvalidStateError: the response has begun")


def test_after_the_request_ended(gthread):
    """A connection without a request in hand cannot be taken."""
    with gthread.connect() as client, gthread.connect() as other:
        assert client.request("/keep").body == b"kept"
        wait_for(lambda: "NAI" in gthread.sequences(), "IDLE")
        answer = other.request("/after-the-end").json
        assert answer["error"] == "InvalidStateError"
        assert "no request in hand" in answer["text"]
        client.close()
        wait_for(lambda: "NAIC" in gthread.sequences(), "CLOSED")
        assert other.request("/after-the-end").json["error"] == "ConnectionClosedError"


def test_reading_the_request_stream_afterwards(server):
    """The request's own stream is closed to the view that has taken the connection."""
    with server.connect() as client:
        client.get("/stream-after", "Content-Length: 5", method="POST", body=b"hello")
        assert client.rest() == b"InvalidStateError"


def test_the_body_is_closed_and_teardown_runs(server):
    """What the view returns is dropped, but closed; teardown functions run; there is a log line."""
    before = len(server.events())
    with server.connect() as client:
        client.get("/closing-body")
        assert client._exactly(6) == b"foobar"

        def recorded():
            seen = [key for event in server.events()[before:] for key in event]
            return {"body_closed", "torn_down"} <= set(seen) and seen

        assert "iterated" not in wait_for(recorded, "close() and teardown")
    if server.name == "waitress":
        return  # it has no access log
    logged = re.compile(r'GET /closing-body HTTP/1\.1[^"]*" 101 ')
    wait_for(lambda: logged.search(server.log.read_text()), "the access log")


def test_expect_continue_is_not_answered(server):
    """A pending 100-continue is not answered when the view hijacks."""
    with server.connect() as client:
        client.get(
            "/leading?read=0&count=5", "Content-Length: 5", "Expect: 100-continue", method="POST"
        )
        client.send(b"hello")
        assert client.rest() == b"0 5\nhello"


def test_expect_continue_is_answered_when_the_body_is_read(server):
    """A view that reads the body makes the server ask for it, once."""
    with server.connect() as client:
        client.get("/upload", "Content-Length: 5", "Expect: 100-continue", method="POST")
        assert client._until(b"\r\n\r\n")[0] == b"HTTP/1.1 100 Continue"
        client.buffered = b""
        client.send(b"hello")
        assert client.response().json == {"length": 5}


def test_expect_continue_that_nobody_reads(server):
    """A view that does not read the body is answered at once, and the connection closed."""
    with server.connect() as client:
        client.get("/unread", "Content-Length: 5", "Expect: 100-continue", method="POST")
        answer = client.response()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert client.rest() == b""
    server.wait_sequences("NAC")


def test_expect_continue_amid_the_response(server):
    """A stream that reads the body amid itself: the client was told before the head, and once."""
    with server.connect() as client:
        headers = "Content-Length: 5", "Expect: 100-continue", "Connection: close"
        client.get("/stream-body", *headers, method="POST")
        assert client._until(b"\r\n\r\n")[0] == b"HTTP/1.1 100 Continue"
        _, client.buffered = client._until(b"\r\n\r\n")
        client.send(b"hello")
        answer = client.response()
        assert answer.headers["transfer-encoding"] == "chunked"
        assert (answer.status, answer.body) == (200, b"begun;body=hello")
        assert client.rest() == b""


def test_expect_continue_before_no_content(server):
    """A response that has no body is not one that may read: the client is not asked for its body.

    A twin of the policy that had drifted: Werkzeug's server asked, and threw 5 bytes away.
    """
    with server.connect() as client:
        client.get("/no-content", "Content-Length: 5", "Expect: 100-continue", method="POST")
        assert client._until(b"\r\n\r\n")[0].startswith(b"HTTP/1.1 204")


def test_expect_continue_of_http_1_0(server):
    """A client of HTTP/1.0 does not know 1xx: it is not told to go on (RFC 9110, 10.1.1)."""
    with server.connect() as client:
        headers = "Content-Length: 5", "Expect: 100-continue"
        client.get("/upload", *headers, version="1.0", method="POST", body=b"hello")
        answer = client.response()
        assert (answer.status, answer.json) == (200, {"length": 5})


def test_while_another_thread_reads_the_body(server):
    """It is refused, on every server: that thread would take bytes of the new owner's."""
    before = len(server.events())
    with server.connect() as client:
        client.get("/hijack-while-reading", "Content-Length: 10", method="POST", body=b"12345")
        wait_for(lambda: any("refused" in each for each in server.events()[before:]), "the refusal")
        client.send(b"67890")
        answer = client.response().json
    assert answer["refused"]["error"] == "InvalidStateError"
    assert "another thread is reading" in answer["refused"]["text"]
    assert answer["body"] == "1234567890"


def test_two_threads_at_once(server):
    """One wins whole, with the bytes read ahead; the other is told that it is too late."""
    for _ in range(20):
        with server.connect() as client:
            client.get("/hijack-twice-at-once", body=b"12345")
            assert client.rest() == b"1 ['AlreadyHijackedError'] 12345"


def behind(client):
    """Read to the end, be it a reset; give what there was."""
    data, client.buffered = client.buffered, b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while chunk := client.sock.recv(65536):
            data += chunk
    return data


def test_last_words(server):
    """What is called when the dropped response is closed may still use the stream."""
    with server.connect() as client:
        client.get("/last-words")
        assert client.rest() == b"one\ntwo\n"
    server.wait_sequences("NAHC")


@pytest.mark.parametrize("size", [5, 200_000])
def test_expect_continue_that_nobody_awaits(server, size):
    """A client sends its body unasked, to a view that reads none: the answer is all it gets."""
    with server.connect() as client:
        client.get("/unread", f"Content-Length: {size}", "Expect: 100-continue", method="POST")
        with contextlib.suppress(OSError):  # the server may have closed before all is sent
            client.send(b"x" * size)
        answer = client.response()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        if server.name != "werkzeug":
            assert behind(client) == b""
        elif server.transport != "tls":
            with contextlib.suppress(OSError):  # Werkzeug reads on to our end
                client.sock.shutdown(socket.SHUT_WR)
            assert behind(client) == b""
        assert client.buffered == b""
    server.wait_sequences("NAC")


def test_upgrade(server):
    """`upgrade()` answers 101 with the fields it was given, and the first frame is not lost."""
    with server.connect() as client:
        client.get("/upgrade", "Upgrade: echo", "Connection: Upgrade", body=b"early")
        head, client.buffered = client._until(b"\r\n\r\n")
        assert head.split(b"\r\n") == [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: echo",
            b"Connection: Upgrade",
            b"X-Extra: yes",
        ]
        assert client._exactly(5) == b"early"
        client.send(b"later")
        assert client._exactly(5) == b"later"
    server.wait_sequences("NAHC")


def test_async_gets_the_leading_bytes(server):
    """Asyncio streams begin with what the server had read ahead."""
    data = bytes(i % 251 for i in range(100_000))
    with server.connect() as client:
        client.get("/async", body=data[:50_000])
        client.send(data[50_000:])
        assert client._exactly(6) == b"HELLO\n"
        assert client._exactly(len(data)) == data
    server.wait_sequences("NAHC")


def test_an_async_handler_that_fails(server):
    """A handler that fails is logged, and its connection closed."""
    with server.connect() as client:
        client.get("/async-fails")
        assert client.rest() == b"HELLO\n"
    server.wait_sequences("NAHC")
    wait_for(lambda: "a handler that fails" in server.log.read_text(), "the log")


def test_100_connections_at_once(server):
    """A hundred connections on the loop, and the server goes on answering."""
    clients = []
    try:
        for _ in range(100):
            # One after the other: the sync worker serves no second one before the first has asked.
            clients.append(server.connect())
            clients[-1].get("/async")
        for number, client in enumerate(clients):
            assert line(client) == b"HELLO"
            client.send(b"%d\n" % number)
        with server.connect() as other:
            assert other.request("/", "Connection: close").status == 200
        for number, client in enumerate(clients):
            assert line(client) == b"%d" % number
    finally:
        for client in clients:
            client.close()
    wait_for(lambda: server.sequences().count("NAHC") == len(clients), "all to be closed")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sync", "gthread"])
@pytest.mark.parametrize("transport", [*PLAIN, "tls"])
def test_graceful_stop(run_server, name, transport):
    """Owners are told of a stop and say goodbye; the worker ends in its grace, untroubled."""
    with run_server(name, transport, app="taking:app") as server:
        clients = []
        for _ in range(100):
            clients.append(server.connect())
            assert begin(clients[-1], "/hold") == b"HELLO"
        assert server.stop() == 0
        for client in clients:
            assert client.rest() == b"GOODBYE\n"
            client.close()
        assert "Traceback" not in server.log.read_text()
        assert [each for each in server.events() if "shutdown" in each] == [{"shutdown": True}]
        wait_for(lambda: server.sequences().count("NAHC") == 100, "all to be closed")


@pytest.mark.slow
def test_owners_that_do_not_listen(run_server):
    """A stop does not wait longer than its grace for owners who do nothing about it."""
    with run_server("gthread", "tcp", "--graceful-timeout", "2", app="taking:app") as server:
        with server.connect() as client, server.connect() as other:
            assert begin(client, "/echo-thread") == b"HELLO"
            assert begin(other, "/async") == b"HELLO"
            assert server.stop() == 0
            assert client.rest() == other.rest() == b""
        assert "Traceback" not in server.log.read_text()


def test_session_ticket_tls(server):
    """TLS facts can still be asked of a connection that was taken over."""
    if server.transport != "tls":
        pytest.skip("needs TLS")
    with server.connect() as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert begin(client, "/echo-thread") == b"HELLO"
        with server.connect() as other:
            assert json.loads(other.request("/", "Connection: close").body)["is_tls"]


@pytest.mark.parametrize("how", ["close", "abort"])
def test_an_owner_that_reads_when_another_thread_ends_it(server, how):
    """Its read ends, the client sees the end, and CLOSED comes once."""
    before = len(server.events())
    with server.connect() as client:
        assert begin(client, "/block") == b"HELLO"
        with server.connect() as other:
            assert other.request(f"/unblock?how={how}", "Connection: close").status == 200
        assert behind(client) == b""

        def told():
            return [each["owner"] for each in server.events()[before:] if "owner" in each]

        (owner,) = wait_for(told, "the owner's read to end")
        assert owner in {"ConnectionClosedError", "ConnectionBrokenError"}
    server.wait_sequences("NAHC", "NAC")
    assert sorted(each["reason"] for each in server.closed()) == ["AFTER_RESPONSE", "APP"]


def facts(server):
    """Give what is to be the same before and afterwards; None while somebody else is there."""
    with server.connect() as client:
        found = client.request("/", "Connection: close").json
    alone = found["alive"] == 1 and found["nr_conns"] in {1, None}
    return (found["pid"], found["descriptors"]) if alone else None


@pytest.mark.parametrize("path", ["/forget", "/close-its-socket"])
def test_nobody_holds_it(server, path):
    """A stream that is forgotten is closed; so is one whose real socket was. Nothing is left."""
    # The least of them: who asked last may not be closed yet.
    before = min(wait_for(lambda: facts(server), "quiet") for _ in range(5))
    wait_for(lambda: all(each.endswith("C") for each in server.sequences()), "all to be closed")
    server.mark()
    for _ in range(5):
        with server.connect() as client:
            client.get(path)
            assert client.rest() == (b"HELLO\n" if path == "/close-its-socket" else b"")
    server.wait_sequences(*["NAHC"] * 5)
    assert [each["reason"] for each in server.closed()] == ["APP"] * 5

    def as_before():
        pid, descriptors = facts(server) or (None, None)
        return pid == before[0] and descriptors <= before[1]

    wait_for(as_before, f"{before}")


def test_a_view_that_fails_and_holds_it(server):
    """Its stream goes with the exception, which is garbage once Flask has handled it."""

    def collected():
        with server.connect() as other:
            assert other.request("/collect", "Connection: close").status == 200
        return "NAHC" in server.sequences()

    with server.connect() as client:
        client.get("/forget-and-fail")
        wait_for(collected, "it to be closed")
        assert client.rest() == b""
    (event,) = (each for each in server.closed() if each["reason"] != "AFTER_RESPONSE")
    assert (event["reason"], event["usable"]) == ("APP", True)


def test_deadlines_of_the_view_before(server):
    """What the view has set before the hijack is lifted: the owner reads and writes past it."""
    with server.connect() as client:
        assert begin(client, "/former-deadlines") == b"HELLO"
        client.send(b"x")
        assert client.rest() == b"None x"
    server.wait_sequences("NAHC")


def test_a_deadline_of_the_owners(server):
    """What the view has set after the hijack is in force when its request has ended."""
    before = len(server.events())
    with server.connect() as client:
        client.get("/owner-deadline")
        assert client.rest() == b""
    server.wait_sequences("NAHC")
    told = {k: v for each in server.events()[before:] for k, v in each.items()}
    assert told["deadline_kept"]
    assert told["owner"] == "TimeoutError"


def test_a_default_timeout(server):
    """The timeout that sockets of the application have is none of the owner's."""
    with server.connect() as client:
        client.request("/default-timeout?seconds=10", "Connection: close")
    try:
        with server.connect() as client:
            client.get("/timeout")
            assert client.rest() == b"None"
    finally:
        with server.connect() as client:
            client.request("/default-timeout", "Connection: close")


@pytest.mark.parametrize("by", ["read", "readline"])
def test_a_body_that_came_in_part(server, by):
    """Of a body whose read has failed at its deadline, what had come is not lost to the owner."""
    if server.name != "werkzeug" and gunicorn.version_info < (27, 0):
        pytest.skip("gunicorn before 27.0 loses it")
    with server.connect() as client:
        client.get(f"/late-body?by={by}", "Content-Length: 10", method="POST", body=b"hello")
        assert client.rest() == b"5 hello"


def test_chunked_body_read_in_part(server):
    """Its rest is not to be had as it came: the hijack is refused, unless it was read whole."""
    with server.connect() as client:
        headers = "Transfer-Encoding: chunked", "Connection: close"
        body = b"bb8\r\n" + b"x" * 3000 + b"\r\n0\r\n\r\n"
        client.get("/amid-body?read=2", *headers, method="POST", body=body)
        answer = client.response().json
        assert answer["error"] == "UnsupportedError"
        assert "read in part" in answer["text"]
    with server.connect() as client:
        client.get("/amid-body?read=10000", *headers, method="POST", body=body + b"next")
        assert client.rest() == b"taken, and then next"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "transport"), EACH_SERVER_ONCE)
def test_an_owner_that_never_closes(run_server, name, transport):
    """When the server stops its connection is reported as CLOSED, which the owner did not do."""
    options = () if name == "werkzeug" else ("--graceful-timeout", "2")
    with run_server(name, transport, *options, app="ending:app") as server:
        server.mark()
        with server.connect() as client:
            assert begin(client, "/never-close") == b"HELLO"
            server.stop(signal.SIGINT if name == "werkzeug" else signal.SIGTERM)
            assert client.at_eof()
        assert server.sequences() == ["NAHC"]
        (event,) = server.closed()
        assert (event["reason"], event["usable"]) == ("SHUTDOWN", True)
        assert "Traceback" not in server.log.read_text()
