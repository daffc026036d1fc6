"""The example application on the real worker: its page and its JSON tell the truth."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jinja2
import pytest
from servers import wait_for
from wsproto import ConnectionType, WSConnection, events

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent

ENV = {"PYTHONPATH": str(ROOT), "DEMO_HOSTS": "test"}


@pytest.fixture(scope="module", params=["tcp", "unix", "tls"])
def example(request, run_server):
    """The example on the thread worker, over each transport."""
    with run_server("gthread", request.param, app="example_app.app:app", env=ENV) as server:
        yield server


def listed(client):
    """Give the live connections by id, and the current one, as the API says."""
    answer = client.request("/api/connections").json
    return {each["id"]: each for each in answer["connections"]}, answer["current"]


def test_one_connection(example):
    """`/api/connection` describes the connection that asked."""
    with example.connect() as client:
        said = client.request("/api/connection").json
        if example.transport == "unix":
            assert re.fullmatch(r"@\d+\.\d+", said["key"])
            assert said["local_address"] == example.address
        else:
            assert said["key"] == client.key
            assert said["local_address"] == "{}:{}".format(*example.address)
        assert said["is_unix"] is (example.transport == "unix")
        assert said["is_tls"] is (example.transport == "tls")
        assert said["family"] == ("AF_UNIX" if said["is_unix"] else "AF_INET")
        assert said["managed"] is True
        assert (said["tls"] is not None) is said["is_tls"]
        if said["is_tls"]:
            assert said["tls"]["version"] == "TLSv1.3"
        assert (said["peer"] and said["peer"]["pid"]) == (os.getpid() if said["is_unix"] else None)
        assert said["state"] == "ACTIVE"
        assert said["requests"] == 1
        assert 0 <= said["age"] < 60
        opened = dt.datetime.fromisoformat(said["opened_at"])
        age = dt.datetime.now(dt.UTC) - opened
        assert dt.timedelta(0) <= age < dt.timedelta(minutes=1)


@pytest.mark.parametrize(
    ("tcp", "shown"), [(None, "-"), ({"rtt": None}, "-"), ({"rtt": 0.0042}, "4.200 ms")]
)
def test_a_round_trip_that_was_not_measured(tcp, shown):
    """The page shows a dash where there is no TCP, and where it has no sample yet."""
    rows = (ROOT / "example_app/templates/rows.html").read_text()
    macros = jinja2.Environment().from_string(rows).module
    assert macros.rtt({"tcp": tcp}) == shown


def test_the_next_request(example):
    """A second request on the same connection has the same id and the next number."""
    with example.connect() as client:
        first = client.request("/api/connection").json
        second = client.request("/api/connection").json
    assert (second["id"], second["key"]) == (first["id"], first["key"])
    assert (first["requests"], second["requests"]) == (1, 2)


def test_live_connections(example):
    """`/api/connections` lists the other connections in their states, and marks the current one."""
    with example.connect() as silent, example.connect() as idle, example.connect() as client:
        idle_id = idle.request("/api/connection").json["id"]
        wait_for(lambda: listed(client)[0][idle_id]["state"] == "IDLE", "IDLE")
        live, current = listed(client)
        assert live[current["id"]]["state"] == "ACTIVE"
        assert live[current["id"]]["key"] == current["key"]
        others = [each for number, each in live.items() if number not in {idle_id, current["id"]}]
        if example.transport != "unix":
            assert [each["state"] for each in others if each["key"] == silent.key] == ["NEW"]
        assert "NEW" in {each["state"] for each in others}


def test_closed_connections(example):
    """A connection that has ended leaves the list, and is among the closed with its reason."""
    with example.connect() as client:
        with example.connect() as leaving:
            gone = leaving.request("/api/connection").json["id"]
        wait_for(lambda: gone not in listed(client)[0], "the connection to leave the list")

        def remembered():
            closed = client.request("/api/connections").json["closed"]
            return next((each for each in closed if each["id"] == gone), None)

        found = wait_for(remembered, "the connection among the closed")
        assert found["close_reason"] == "PEER_CLOSED"
        assert found["requests"] == 1


def test_ss(example):
    """`flask rawsocket ss` understands what `/api/connections` says."""
    command = [sys.executable, "-m", "flask", "rawsocket", "ss"]
    with example.connect() as client:
        key = client.request("/api/connection").json["key"]
        if example.transport == "unix":
            command += ["--unix-socket", example.address]
        else:
            scheme = "https" if example.transport == "tls" else "http"
            url = "{}://{}:{}/api/connections".format(scheme, *example.address)
            command += [url, "--insecure"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    head, *rows = done.stdout.splitlines()
    assert head.split()[:2] == ["STATE", "KEY"]
    (row,) = (each.split() for each in rows if key in each)
    assert row[0] == "IDLE"
    assert ("-" in row) is (example.transport == "unix")


def test_page(example):
    """The page shows this connection's key, state and request number, and the live ones."""
    with example.connect() as client:
        said = client.request("/api/connection").json
        answer = client.request("/")
        page = answer.body.decode()
        assert answer.status == 200
        assert f'data-value="key">{said["key"]}<' in page
        assert 'data-value="state"><span class="state active">ACTIVE<' in page
        assert 'data-value="requests">2<' in page
        assert f'<td class="mono">{said["key"]}</td>' in page
        assert 'class="current"' in page


def test_page_needs_nobody_else(example):
    """What the page loads comes from the example itself."""
    with example.connect() as client:
        answer = client.request("/")
        assert answer.headers["content-security-policy"] == "default-src 'self'; img-src data:"
        loads = r'<(?:script|link)\b[^>]* (?:src|href)="([^"]+)"'
        loaded = re.findall(loads, answer.body.decode())
        assert loaded
        for url in loaded:
            if not url.startswith("data:"):
                assert url.startswith("/")
                answer = client.request(url)
                assert answer.status == 200
                assert answer.body


class ChatMember:
    """A WebSocket client of the chat."""

    def __init__(self, example, *, origin=None):
        self.client = example.connect()
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.heard = []
        headers = [("Origin", origin)] if origin else []
        self.send(events.Request(host="test", target="/chat", extra_headers=headers))

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.client.close()

    def send(self, event):
        self.client.send(self.protocol.send(event))

    def say(self, text):
        self.send(events.TextMessage(text))

    def event(self):
        """Wait for the next event."""
        while not self.heard:
            self.protocol.receive_data(self.client.sock.recv(65536) or None)
            self.heard += self.protocol.events()
        return self.heard.pop(0)

    def message(self):
        """Wait for the next message."""
        while isinstance(event := self.event(), events.AcceptConnection):
            pass
        return json.loads(event.data)

    def answer(self):
        """Wait for the next event that is no message: others of the chat come and go."""
        while isinstance(event := self.event(), events.TextMessage):
            pass
        return event

    def hears(self, kind):
        """Wait for a message of this kind."""
        while (message := self.message())["kind"] != kind:
            pass
        return message


class TestChat:
    """The chat."""

    def test_two_members(self, example):
        """What one says all hear, in order; who comes and goes is told, by the connection's key."""
        with ChatMember(example) as bob:
            alone = bob.hears("joined")["members"]
            with ChatMember(example) as alice:
                assert alice.hears("joined") == (came := bob.hears("joined"))
                assert came["members"] == alone + 1
                if example.transport != "unix":
                    assert came["who"] == alice.client.key
                alice.say("hello")
                alice.say("h\u00e9llo " + "x" * 900)
                for member in (alice, bob):
                    said = member.hears("said")
                    assert (said["who"], said["text"]) == (came["who"], "hello")
                    assert member.hears("said")["text"].startswith("h\u00e9llo")
            left = bob.hears("left")
            assert (left["who"], left["members"]) == (came["who"], alone)
            with example.connect() as client:
                live, current = listed(client)
                assert "HIJACKED" in {each["state"] for each in live.values()}
                assert current["state"] == "ACTIVE"

    def test_many_messages_in_one_segment(self, example):
        """The others hear them all, and nobody is let go for want of a turn to write."""
        with ChatMember(example) as listener, ChatMember(example) as talker:
            listener.hears("joined")
            talker.hears("joined")
            texts = [str(number) for number in range(150)]
            frames = [talker.protocol.send(events.TextMessage(each)) for each in texts]
            talker.client.send(b"".join(frames))
            for member in listener, talker:
                assert [member.hears("said")["text"] for _ in texts] == texts

    def test_goodbye(self, example):
        """A goodbye is answered with the same, and the connection ends."""
        with ChatMember(example) as member:
            member.hears("joined")
            member.send(events.CloseConnection(code=1000, reason="enough"))
            answer = member.answer()
            assert (type(answer), answer.code) == (events.CloseConnection, 1000)
            assert member.client.at_eof()

    def test_ping(self, example):
        """A ping is answered with its payload."""
        with ChatMember(example) as member:
            member.hears("joined")
            member.send(events.Ping(b"are you there?"))
            answer = member.answer()
            assert (type(answer), answer.payload) == (events.Pong, b"are you there?")

    @pytest.mark.parametrize(
        ("event", "code"),
        [(events.TextMessage("x" * 1001), 1009), (events.BytesMessage(b"x"), 1003)],
        ids=["too long", "binary"],
    )
    def test_what_it_does_not_take(self, example, event, code):
        """A message that is too long, or binary, ends the connection with a code that says so."""
        with ChatMember(example) as member:
            member.hears("joined")
            member.send(event)
            answer = member.answer()
            assert (type(answer), answer.code) == (events.CloseConnection, code)
            with contextlib.suppress(ConnectionError):  # it may have closed already
                member.send(answer.response())
            assert member.client.at_eof()

    def test_another_page(self, example):
        """A browser that shows another site's page is refused; its own page's is not."""
        scheme = "https" if example.transport == "tls" else "http"
        with ChatMember(example, origin="http://elsewhere.example") as member:
            answer = member.answer()
            assert (type(answer), answer.status_code) == (events.RejectConnection, 403)
        with ChatMember(example, origin=f"{scheme}://test") as member:
            assert member.hears("joined")

    def test_another_version(self, example):
        """A version of the protocol that nobody speaks here is refused."""
        headers = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 7"]
        with example.connect() as client:
            assert client.request("/chat", *headers).status == 426

    @pytest.mark.parametrize("example", ["unix"], indirect=True)  # TCP's buffers take too much
    def test_a_member_who_does_not_read(self, example):
        """Who does not read is let go, and the others go on."""
        with ChatMember(example) as sleeper, ChatMember(example) as talker:
            sleeper.hears("joined")
            talker.hears("joined")
            for number in range(2000):
                talker.say(f"{number} " + "x" * 900)
                while (kind := talker.message()["kind"]) != "said":
                    if kind == "left":
                        return
        raise AssertionError("nobody was let go")

    @pytest.mark.slow
    def test_stop(self, run_server):
        """Members are told of a graceful stop, and the worker does not wait out its grace."""
        options = {"app": "example_app.app:app", "env": ENV}
        with run_server("gthread", "tcp", "--graceful-timeout", "20", **options) as server:
            with ChatMember(server) as member:
                member.hears("joined")
                server.process.terminate()
                answer = member.answer()
                assert (type(answer), answer.code) == (events.CloseConnection, 1012)
                member.send(answer.response())
                assert server.process.wait(15) == 0
            assert "Traceback" not in server.log.read_text()


def test_tokens(example):
    """The model's answer comes word by word, and its end is told."""
    with example.connect() as client:
        response = client.request("/tokens")
    assert response.headers["content-type"] == "text/event-stream"
    assert response.body.startswith(b'id: 0\ndata: {"token": "No"}\n\n')
    assert response.body.endswith(b"event: end\ndata: \n\n")


def test_tokens_go_on(example):
    """A browser that comes back is told the rest, while only its own request holds a thread."""
    with example.connect() as client, example.connect() as other:
        client.get("/tokens", "Last-Event-ID: 5")
        head, client.buffered = client._until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        # The thread that sent the head may be about to be free.
        wait_for(lambda: other.request("/api/connections").json["busy"] == 1, "one busy thread")
        assert client._chunks().startswith(b'id: 6\ndata: {"token": "word"}\n\n')


class Listener:
    """A client of one of the feeds."""

    def __init__(self, example, path):
        self.client = example.connect()
        self.client.get(path)
        head, self.client.buffered = self.client._until(b"\r\n\r\n")
        self.status = int(head.split()[1])

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.client.close()

    def hears(self):
        """Wait for the next event."""
        while True:
            text, self.client.buffered = self.client._until(b"\n\n")
            for line in text.splitlines():
                if line.startswith(b"data: "):
                    return json.loads(line.removeprefix(b"data: "))


class TestFeed:
    """What the page is told as it happens."""

    def test_facts(self, example):
        """A stream tells of its own connection again and again, and of the others."""
        with Listener(example, "/facts") as listener:
            first, second = listener.hears(), listener.hears()
            assert first["current"]["state"] == "HIJACKED"
            assert first["current"]["id"] == second["current"]["id"]
            assert second["current"]["age"] > first["current"]["age"]
            assert first["current"]["id"] in {each["id"] for each in first["connections"]}
            if example.transport != "unix":
                assert second["current"]["key"] == listener.client.key
                assert second["current"]["tcp"]["rtt"] > 0
            assert (second["current"]["tls"] is not None) is (example.transport == "tls")

    def test_changes(self, example):
        """Each change of a connection's state is told, from its first to its end."""
        with Listener(example, "/changes") as listener:
            with example.connect() as client:
                number = client.request("/api/connection").json["id"]
            heard = []
            while not heard or heard[-1]["new"] != "CLOSED":
                change = listener.hears()
                if change["id"] == number:
                    heard.append(change)
            states = [each["new"] for each in heard]
            assert states == ["NEW", "ACTIVE", "IDLE", "CLOSED"]
            assert [each["old"] for each in heard] == [None, *states[:-1]]
            assert heard[-1]["reason"] == "PEER_CLOSED"
            assert (heard[0]["peer"] is not None) is (example.transport == "unix")

    def test_many_connections(self, example):
        """The page is told of the first of them, and how many there are; the API, of all."""
        with contextlib.ExitStack() as stack:
            for _ in range(51):
                stack.enter_context(example.connect())
            client = stack.enter_context(example.connect())
            wait_for(lambda: len(listed(client)[0]) > 51, "all of them")
            heard = stack.enter_context(Listener(example, "/facts")).hears()
            assert len(heard["connections"]) == 50
            assert heard["count"] > 51

    @staticmethod
    def has_room(example, path):
        with Listener(example, path) as listener:
            return listener.status == 200

    @pytest.mark.parametrize("path", ["/facts", "/changes"])
    def test_too_many(self, example, path):
        """There is an end to how many streams there are; whoever leaves makes room."""
        with example.connect() as client, contextlib.ExitStack() as stack:
            for _ in range(32):
                stack.enter_context(Listener(example, path))
            # The last ones may have been answered, and not yet have joined.
            wait_for(lambda: not self.has_room(example, path), "no room")
            refused = client.request(path)
            assert (refused.status, refused.headers["retry-after"]) == (503, "20")
        wait_for(lambda: self.has_room(example, path), "room")

    @pytest.mark.parametrize("path", ["/facts", "/changes"])
    def test_another_page(self, example, path):
        """A page of another site cannot open them."""
        with example.connect() as client:
            assert client.request(path, "Sec-Fetch-Site: cross-site").status == 403


class TestSlowView:
    """The view that stops when its client leaves."""

    def test_it_stops(self, example):
        """The counter of stopped ones goes up soon after a client has left."""
        with example.connect() as client:

            def counts():
                return client.request("/api/connections").json["work"]

            before = counts()
            with example.connect() as leaving:
                leaving.get("/slow")
                wait_for(lambda: counts()["working"] == before["working"] + 1, "work")
            wait_for(lambda: counts()["stopped"] == before["stopped"] + 1, "the stop", timeout=10)
            after = counts()
            assert (after["working"], after["finished"]) == (before["working"], 0)
            page = client.request("/").body.decode()
            assert f'data-value="stopped">{after["stopped"]}<' in page

    def test_another_page(self, example):
        """A page of another site cannot have the work done; the own page and no page can."""
        with example.connect() as client:
            for site in "cross-site", "same-site":
                assert client.request("/slow", f"Sec-Fetch-Site: {site}").status == 403

    def test_too_many(self, example):
        """Who comes while enough are working is refused at once, and threads are left."""
        with contextlib.ExitStack() as stack, example.connect() as client:

            def working():
                return client.request("/api/connections").json["work"]["working"]

            wait_for(lambda: working() == 0, "those before", timeout=10)
            for _ in range(2):
                stack.enter_context(example.connect()).get("/slow", "Sec-Fetch-Site: same-origin")
            wait_for(lambda: working() == 2, "the work")
            refused = client.request("/slow")
            assert (refused.status, refused.headers["retry-after"]) == (503, "20")


@pytest.mark.skipif(version("flask") < "3.1", reason="needs Flask 3.1, which knows TRUSTED_HOSTS")
def test_another_host(example):
    """A name that somebody else has made to resolve to this address is refused."""
    with example.connect() as client:
        client.send(b"GET /api/connections HTTP/1.1\r\nHost: rebound.example\r\n\r\n")
        assert client.response().status == 400
        client.send(b"GET /api/connection HTTP/1.1\r\nHost: localhost:8000\r\n\r\n")
        assert client.response().status == 200
