"""The page "Behind nginx or haproxy": what it says of addresses, streams and restarts."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fronting import PAGE, fronted, needs
from servers import Client, pid_of, wait_for
from talking import talking

pytestmark = pytest.mark.slow

CLIENT = "127.0.0.2"
"""Where a client comes from; a proxy comes from 127.0.0.1."""

FRONTS = ["nginx", "haproxy"]


def asked(place):
    """Return what the application says to a client of `CLIENT`."""
    with Client(place.raw((CLIENT, 0))) as client:
        return client.request("/who", "Connection: close").json


def named(value):
    """Return an address as the page names it."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return f"{named(value[0])}:port"
    if value.startswith("@"):
        return "`@PID.N`"
    host, colon, _port = value.partition(":")
    return {CLIENT: "client", "127.0.0.1": "proxy"}[host] + (":port" if colon else "")


def row(front, seen):
    """Return the line of the page's table."""
    route = " ".join(map(named, seen["access_route"]))
    cells = front, named(seen["key"]), named(seen["proxy"]), named(seen["remote_addr"]), route
    return "| " + " | ".join(cells) + " |\n"


@pytest.mark.parametrize(
    ("front", "transport", "fix", "more"),
    [
        ("none", "tcp", "", ""),
        ("nginx", "tcp", "", ""),
        ("nginx", "tcp", "1", ""),
        ("nginx", "unix", "", ""),
        ("nginx", "unix", "1", ""),
        ("haproxy", "tcp", "", ""),
        ("haproxy", "tcp", "", "send-proxy-v2"),
        ("haproxy", "unix", "", "send-proxy-v2"),
    ],
)
def test_whose_address(run_server, tmp_path, front, transport, fix, more):
    """What a view sees is what the page's table says."""
    label = f"{front}, {transport.upper()}" + ", `ProxyFix`" * bool(fix) + ", PROXY" * bool(more)
    options = {"app": "fronts:app", "env": {"FRONTS_PROXY_FIX": fix}}
    with run_server("gthread", transport, "--proxy-protocol", "auto", **options) as server:
        if front == "none":
            assert row(label, asked(server)) in PAGE
            return
        with fronted(front, server, tmp_path / front, more) as place:
            seen = asked(place)
            assert row(label, seen) in PAGE
            assert seen["peer"] in (False, *workers_of(place))


def workers_of(place):
    """Return the process ids of a proxy: nginx has a worker, haproxy is one process."""
    pid = place.process.pid
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [pid, *map(int, children.read().split())]


@pytest.fixture(scope="module", params=[(f, t) for f in FRONTS for t in ("tcp", "unix")])
def front(request, run_server, tmp_path_factory):
    """Each proxy before the thread worker, over TCP and a UNIX socket."""
    name, transport = request.param
    needs(name)
    folder = tmp_path_factory.mktemp(name) / "front"
    with (
        run_server("gthread", transport, app="fronts:app") as server,
        fronted(name, server, folder) as place,
    ):
        yield place


def test_keep_alive(front):
    """A proxy's connection is one Connection over several requests."""
    with front.connect() as client:
        first, second = (client.request("/who").json for _ in range(2))
    assert first["key"] == second["key"]
    assert second["requests"] == first["requests"] + 1


def test_websocket(front):
    """Messages go both ways, and the close code comes through."""
    with talking(front, "/echo") as ws:
        for message in ("ä" * 70_000, b"\x00\xff"):
            ws.send(message)
            assert ws.recv() == message


def test_events(front):
    """An event is there before the next one is sent; the generator hears that its client left."""
    front.mark()
    with front.connect() as client, front.connect() as other:
        client.get("/events")
        client._until(b"data: welcome\n\n")
        wait_for(lambda: other.request("/members").body == b"1", "the member")
        for step in (b"first", b"second"):
            other.request("/step", f"Content-Length: {len(step)}", method="POST", body=step)
            client._until(b"data: " + step + b"\n\n")
    wait_for(lambda: {"left": True} in front.events(), "the end of the generator")


def test_a_client_leaves(front):
    """A view that waits hears it when the client behind the proxy has gone."""
    before = front.events().count({"left": True})
    with front.connect() as client:
        client.get("/wait")
        wait_for(lambda: {"waiting": True} in front.events(), "the view")
    wait_for(lambda: front.events().count({"left": True}) > before, "the view to hear it")


def restart(server, statuses):
    """Replace the worker; wait until the new one has answered some of the `statuses`."""
    before = pid_of(server)
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: pid_of(server) != before, "the new worker")
    enough = len(statuses) + 20
    wait_for(lambda: len(statuses) > enough, "more answers")


@pytest.mark.parametrize("name", FRONTS)
def test_restarts(run_server, tmp_path, name):
    """No GET is lost while workers are replaced."""
    needs(name)
    done = threading.Event()
    statuses = []

    def ask(place):
        while not done.is_set():
            with place.connect() as client:
                statuses.append(client.request("/who", "Connection: close").status)

    with (
        run_server("gthread", "tcp", app="fronts:app") as server,
        fronted(name, server, tmp_path / name) as place,
        ThreadPoolExecutor(4) as pool,
    ):
        asking = [pool.submit(ask, place) for _ in range(4)]
        try:
            for _ in range(3):
                restart(server, statuses)
        finally:
            done.set()
        for each in asking:
            each.result()
    assert set(statuses) == {200}


@pytest.mark.parametrize("size", [2**16, 2**20, 2**22])
def test_unread_bodies(front, size):
    """A response to a body that nobody reads comes through the proxy."""
    for _ in range(5):
        with front.connect() as client:
            headers = f"Content-Length: {size}", "Connection: close"
            assert (
                client.request("/unread", *headers, method="POST", body=bytes(size)).status == 200
            )
