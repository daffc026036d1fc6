"""Peers that behave badly, in great number: what is left of them afterwards is nothing.

``BAD_PEERS=20000 pytest tests/test_bad_peers.py`` is the full run.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import EACH_SERVER_ONCE, Client, client_context, wait_for

pytestmark = pytest.mark.slow

BAD_PEERS = int(os.environ.get("BAD_PEERS", "600"))
"""How many connections each server gets, of all kinds together."""

AT_ONCE = 4


def client_hello():
    """Give the first bytes that a TLS client sends."""
    sent = ssl.MemoryBIO()
    client = client_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


HELLO = client_hello()


def reset(server):
    Client(server.raw()).reset()


def leave(server):
    server.connect().close()


def half_head(server):
    with server.connect() as client:
        client.send(b"GET / HTT")


def half_head_and_reset(server):
    client = server.connect()
    client.send(b"GET / HTT")
    client.reset()


def garbage(server):
    with server.connect() as client:
        client.send(b"\x00\x01garbage\r\n\r\n")
        client.rest()


def aborted_upload(server):
    with server.connect() as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")


def tls_to_plain_or_half_a_handshake(server):
    with Client(server.raw()) as client:
        client.send(HELLO if server.transport != "tls" else HELLO[:50])


def plain_to_tls(server):
    with Client(server.raw()) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.rest()


def gone_amid_the_response(server):
    client = server.connect()
    client.get("/stream?n=100&size=65536")
    client.sock.recv(100)
    client.reset()


def view_fails(server):
    with server.connect() as client:
        client.request("/fail", "Connection: close")


def view_fails_midway(server):
    with server.connect() as client:
        client.get("/fail-midway")
        client.rest()


KINDS = [
    reset,
    leave,
    half_head,
    half_head_and_reset,
    garbage,
    aborted_upload,
    tls_to_plain_or_half_a_handshake,
    plain_to_tls,
    gone_amid_the_response,
    view_fails,
    view_fails_midway,
]


def misbehave(kind, server):
    with contextlib.suppress(OSError, EOFError):  # the server treats us as we deserve
        kind(server)


def state(server):
    """Ask the server how it is; None where the answer is not there to be had."""
    try:
        with server.connect() as client:
            return client.request("/", "Connection: close").json
    except (OSError, EOFError):
        return None


def facts(server):
    """Return what must be the same before and afterwards, and how many descriptors are open."""
    found = state(server)
    if found is None:
        return None, None
    return [found[each] for each in ("pid", "alive", "nr_conns")], found["descriptors"]


@pytest.mark.timeout(max(60, BAD_PEERS // 20))
@pytest.mark.parametrize(
    ("name", "transport"),
    [*EACH_SERVER_ONCE, ("gthread", "tcp"), ("waitress", "tcp"), ("waitress", "unix")],
)
def test_bad_peers(run_server, name, transport):
    """The same process, an empty map, no descriptor more, nothing counted that is not there."""
    with run_server(name, transport) as server:
        for _ in range(8):  # so that what is made once, such as the pool's threads, has been made
            state(server)
        alone = [1, 1 if name == "gthread" else None]

        def quiet():
            found, descriptors = facts(server)
            return found and found[1:] == alone and (found, descriptors)

        before, descriptors = wait_for(quiet, "quiet")

        def as_before():
            # There may be fewer: the last connection's was perhaps still about to be closed.
            found, now = facts(server)
            return found == before and now <= descriptors

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for each in range(BAD_PEERS):
                pool.submit(misbehave, KINDS[each % len(KINDS)], server)
        wait_for(as_before, f"{before} and {descriptors} descriptors")
        events = server.events()
        opened = [each["id"] for each in events if each.get("new") == "NEW"]
        closed = [each["id"] for each in events if each.get("new") == "CLOSED"]
        assert len(opened) > BAD_PEERS * 0.9
        assert sorted(closed) == sorted(set(closed)), "a connection was closed twice"
        assert len(set(opened) - set(closed)) <= 1, "the asking connection at most"
