"""The sockets of other projects' servers, each of which is run."""

from __future__ import annotations

import os

import pytest
from servers import wait_for

pytestmark = pytest.mark.slow

KEEP_ALIVE = [
    ("plain-waitress", "tcp"),
    ("plain-waitress", "unix"),
    ("plain-waitress-lookahead", "tcp"),
    ("cheroot", "tcp"),
    ("cheroot", "unix"),
    ("cheroot", "tls"),
    ("cherrypy", "tcp"),
    ("plain-pywsgi", "tcp"),
    ("plain-pywsgi", "unix"),
    ("plain-pywsgi", "tls"),
    ("plain-pywsgi-patched", "tcp"),
    ("plain-gevent", "tcp"),
    ("eventlet-patched", "tcp"),
    ("eventlet", "tcp"),
    ("eventlet", "tls"),
]
PATCHED = {"plain-pywsgi-patched", "plain-gevent", "eventlet-patched"}
"""Those whose threads are greenlets."""

ONE_REQUEST = [("wsgiref", "tcp"), ("uwsgi", "tcp"), ("uwsgi", "unix")]


@pytest.fixture(params=KEEP_ALIVE + ONE_REQUEST, ids="-".join)
def other(request, other_server):
    """Each of the servers that show their sockets."""
    return other_server(*request.param)


def since(server, before, key):
    return [each for each in server.events()[before:] if key in each]


def test_current_conn(other):
    """A view has its connection, and the next view of that has the same."""
    with other.connect() as client:
        first = client.request().json
        if other.transport != "unix":
            assert first["key"] == client.key
        if (other.name, other.transport) in KEEP_ALIVE:
            second = client.request().json
            assert (second["id"], second["requests"]) == (first["id"], 2)
            assert second["data"] == {"seen": 2}
    assert (first["managed"], first["same"], first["state"]) == (False, True, "ACTIVE")
    assert first["is_unix"] == (other.transport == "unix")
    assert first["is_tls"] == (other.transport == "tls")


def test_kernel(other):
    """What the kernel knows can be asked, and the client is there."""
    with other.connect() as client:
        found = client.request("/kernel", "Connection: close").json
    assert found["disconnected"] is False
    if other.transport == "unix":
        assert found["peer_pid"] == os.getpid()
    else:
        assert 0 < found["rtt"] < 10


def test_the_client_leaves(other):
    """A callback is made, and a wait ends; where the server has closed first, too."""
    before = len(other.events())
    with other.connect() as client:
        client.get("/watch")
        wait_for(lambda: since(other, before, "watching"), "the view to watch")
        if other.name in PATCHED:  # a greenlet that waits lets the others go on
            with other.connect() as another:
                assert another.request().status == 200
    (found,) = wait_for(lambda: since(other, before, "gone"), "the view to be told")
    assert (found["gone"], found["called"]) == (True, True)
    (call,) = since(other, before, "callback")
    assert not call["in_request"]


def test_a_view_is_stopped(other):
    """A view that is to stop when its client has gone does."""
    before = len(other.events())
    with other.connect() as client:
        client.get("/decorated")
        wait_for(lambda: since(other, before, "working"), "the view to work")
    (event,) = wait_for(lambda: since(other, before, "stopped"), "the view to stop")
    assert event["stopped"] == "ClientDisconnected"
