"""Servers that are not ours: `flask run` and gunicorn's own workers, unmodified."""

from __future__ import annotations

import contextlib
import os

import pytest
from servers import wait_for

pytestmark = pytest.mark.slow

PLAIN = ["plain-werkzeug", "plain-sync", "plain-gthread"]


@pytest.fixture(scope="module")
def plain_servers(run_server):
    """The unmodified servers, started when first asked for."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(name, transport):
            if (name, transport) not in started:
                context = run_server(name, transport, app="handling:app")
                started[name, transport] = stack.enter_context(context)
            return started[name, transport]

        yield get


@pytest.fixture(params=PLAIN)
def plain(request, transport, plain_servers):
    """Each of the unmodified servers over each transport."""
    return plain_servers(request.param, transport)


@pytest.fixture
def plain_gthread(transport, plain_servers):
    """The thread worker that is gunicorn's own, over each transport; it keeps connections alive."""
    return plain_servers("plain-gthread", transport)


def ask(server, path="/", *headers):
    """Ask once on a connection of its own."""
    with server.connect() as client:
        return client.request(path, "Connection: close", *headers)


def test_current_conn(plain):
    """A view has its connection, which is not managed, and is in no map."""
    with plain.connect() as client:
        answer = client.request("/", "Connection: close").json
        if plain.transport != "unix":
            assert answer["key"] == client.key
    assert (answer["managed"], answer["same"], answer["alive"]) == (False, True, 0)
    assert (answer["requests"], answer["state"]) == (1, "ACTIVE")
    assert answer["is_unix"] == (plain.transport == "unix")
    assert answer["is_tls"] == (plain.transport == "tls")
    assert plain.events() == []


def test_two_connections(plain):
    """Each has an id and, over UNIX too, a key of its own."""
    one, two = ask(plain).json, ask(plain).json
    assert one["id"] != two["id"]
    assert one["key"] != two["key"]
    if plain.transport == "unix":
        assert one["key"].startswith(f"@{one['pid']}.")


def test_remote_addr(plain):
    """REMOTE_ADDR is what the server says of it."""
    name = plain.name.removeprefix("plain-")
    expected = "127.0.0.1"
    if plain.transport == "unix":
        expected = "<local>" if name == "werkzeug" else ""
    assert ask(plain).json["remote_addr"] == expected


def test_forwarded_headers_are_no_address(plain):
    """What a client says of itself is not its key."""
    with plain.connect() as client:
        key = client.request("/", "X-Forwarded-For: 192.0.2.1", "Connection: close").json["key"]
        assert key.startswith("@") if plain.transport == "unix" else key == client.key


def test_kept_connection(plain_gthread):
    """The later requests of a connection find the same Connection, and what was kept with it."""
    with plain_gthread.connect() as client, plain_gthread.connect() as other:
        answers = []
        for _ in range(3):
            answers.append(client.request().json)
            other.request()
    assert len({each["id"] for each in answers}) == 1
    assert len({each["key"] for each in answers}) == 1
    assert [each["requests"] for each in answers] == [1, 2, 3]
    assert [each["data"] for each in answers] == [{"seen": 1}, {"seen": 2}, {"seen": 3}]


def test_requests_that_do_not_ask(plain_gthread):
    """A request counts whether or not its view asks for the connection; an unknown path, too."""
    with plain_gthread.connect() as client:
        assert client.request("/no-such-path").status == 404
        assert client.request().json["requests"] == 2
        assert client.request("/no-such-path").status == 404
        assert client.request().json["requests"] == 4


def test_asked_for_twice_in_a_request(plain_gthread):
    """Asking again within a request is no request more."""
    with plain_gthread.connect() as client:
        assert client.request("/refused").status == 200
        assert client.request().json["requests"] == 2


REFUSED = [
    "abort",
    "close_after_response",
    "hijack",
    "hijack_async",
    "set_deadlines",
    "set_min_rates",
    "upgrade",
]


def test_refusals(plain):
    """What takes a server of ours says which, and the response is sent all the same."""
    found = ask(plain, "/refused").json
    assert sorted(each for each in found if found[each] is not None) == REFUSED
    for error in filter(None, found.values()):
        assert error["error"] == "UnsupportedError"
        assert "flask_rawsocket.Worker" in error["text"]
        assert "flask rawsocket run" in error["text"]


def test_kernel(plain):
    """What the kernel knows can be asked, and what it does not know of this family is refused."""
    found = ask(plain, "/kernel").json
    assert found["disconnected"] is False
    assert found["fileno"] > 2
    if plain.transport == "unix":
        assert found["peer_pid"] == os.getpid()
        assert found["rtt"]["error"] == "UnsupportedError"
    else:
        assert 0 < found["rtt"] < 10
        assert found["peer_pid"]["error"] == "UnsupportedError"


def test_is_disconnected(plain):
    """A view that asks finds that its client has gone."""
    before = len(plain.events())
    with plain.connect() as client:
        client.get("/wait-gone")
        wait_for(lambda: len(plain.events()) > before, "the view to ask")
    found = wait_for(lambda: plain.events()[before + 1 :], "the view to find out")
    assert found[0]["found_gone"] in {"FIN_RECEIVED", "CLOSED", "RESET"}


def test_a_client_that_leaves(plain):
    """A callback is made, and a wait ends."""
    before = len(plain.events())

    def found(key):
        return [each for each in plain.events()[before:] if key in each]

    with plain.connect() as client:
        client.get("/watch")
        wait_for(lambda: found("watching"), "the view to watch")
    (event,) = wait_for(lambda: found("gone"), "the view to be told")
    assert (event["gone"], event["called"]) == (True, True)


@pytest.mark.parametrize(
    "path", ["/checkpoints", "/decorated", "/undecorated", "/async-decorated", "/helper"]
)
def test_a_view_is_stopped_at_its_checkpoint(plain, path):
    """A long view stops when its client has gone, as on servers of ours."""
    before = len(plain.events())

    def found(key):
        return [each for each in plain.events()[before:] if key in each]

    with plain.connect() as client:
        client.get(path)
        wait_for(lambda: found("working"), "the view to work")
    (event,) = wait_for(lambda: found("stopped"), "the view to stop")
    assert event["stopped"] == "ClientDisconnected"


def test_a_stream_is_ended(plain):
    """A stream that nobody reads any more is closed, and its `finally` runs."""
    before = len(plain.events())
    with plain.connect() as client:
        client.get("/until-gone")
        client._until(b"tick\n")
    wait_for(
        lambda: [each for each in plain.events()[before:] if "stream_ended" in each], "its end"
    )


def test_connections_are_freed(plain):
    """A Connection is garbage when its socket has been closed."""
    for _ in range(20):
        ask(plain)
    for _ in range(5):
        with plain.connect() as client:
            client.get("/")  # and gone before the answer
    wait_for(lambda: ask(plain, "/live").json["live"] <= 2, "the Connections to be freed")


def test_kept_connections_are_freed(plain_gthread):
    """So it is with connections that were kept alive, and left."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(plain_gthread.connect())
            assert client.request().status == 200
        assert ask(plain_gthread, "/live").json["live"] >= 10
    wait_for(lambda: ask(plain_gthread, "/live").json["live"] <= 2, "the Connections to be freed")


def test_a_connection_that_was_kept_by_the_application(plain):
    """After its end it says so, and gives no other's facts."""
    with plain.connect() as client:
        key = client.request("/keep-by-key", "Connection: close").json["key"]
    wait_for(lambda: ask(plain, f"/state?key={key}").json["state"] == "CLOSED", "CLOSED")
    answer = ask(plain, f"/other?key={key}&call=is_disconnected").json
    assert answer["error"] == "ConnectionClosedError"


def test_no_hook_is_called(plain_gthread):
    """Hooks are for servers that are ours: none of these tells of states, or of its end."""
    with plain_gthread.connect() as client:
        client.request()
    ask(plain_gthread)
    assert not [each for each in plain_gthread.events() if "new" in each]
