"""Connections as rows, ready for JSON."""

from __future__ import annotations

import json
import os
import socket
import threading

from listing import holding, serving
from servers import PATIENCE, Client, wait_for

from flask_rawsocket import _ss
from flask_rawsocket._connection.connection import life_of

# Rows


def test_describe_tcp(site):
    """A row of a TCP connection has its queues and the kernel's measurements, ready for JSON."""
    with holding(site) as (client, conn):
        row = _ss.describe(conn)
        assert json.loads(json.dumps(row)) == row
        assert (row["id"], row["key"], row["state"]) == (conn.id, client.key, "ACTIVE")
        assert (row["family"], row["is_unix"], row["is_tls"]) == ("AF_INET", False, False)
        assert row["local_address"] == "{}:{}".format(*site.address)
        assert row["queues"] == {"receive": 0, "send": 0, "unsent": 0}
        assert row["tcp"]["state"] == "ESTABLISHED"
        assert 0 < row["tcp"]["rtt"] < PATIENCE
        assert row["tcp"]["bytes_received"] > 0
        assert row["close_reason"] is None


def test_describe_unix(tmp_path):
    """A row of a UNIX connection says that there is no TCP, and of its queues what is known."""
    with serving(f"unix://{tmp_path}/s") as site, holding(site) as (_client, conn):
        row = _ss.describe(conn)
        assert json.loads(json.dumps(row)) == row
        assert row["tcp"] is None
        assert row["queues"] == {"receive": 0, "send": None, "unsent": None}
        assert (row["key"], row["is_unix"]) == (conn.key, True)


def test_describe_in_the_last_moment(site):
    """In a CLOSED hook the kernel still has its say, and the reason is known."""
    with holding(site) as (client, conn):
        site.release.set()
        client.rest()
    # Hooks hear of all connections of the process, the last test's included.
    (row,) = wait_for(lambda: [row for row in site.closed if row["id"] == conn.id], "the hook")
    assert (row["state"], row["close_reason"]) == ("CLOSED", "RESPONSE_COMPLETE")
    assert row["tcp"]["bytes_received"] > 0


def test_describe_after_the_close(site):
    """A connection that has been closed still makes a row, of what is known without the kernel."""
    with holding(site) as (client, conn):
        site.release.set()
        client.rest()
    wait_for(lambda: life_of(conn).sock is None, "the descriptor to be closed")
    row = _ss.describe(conn)
    assert (row["state"], row["queues"], row["tcp"]) == ("CLOSED", None, None)
    assert row["requests"] == 1


def test_snapshot_while_connections_come_and_go(site):
    """A snapshot is never in the way of a connection that ends, nor that in its."""
    done = threading.Event()

    def come_and_go():
        while not done.is_set():
            with Client(socket.create_connection(site.address, timeout=PATIENCE)) as client:
                client.request("/text")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        seen = set()

        def many():
            found = _ss.snapshot(site.rawsocket.connections)
            assert found["pid"] == os.getpid()
            seen.update(row["id"] for row in found["connections"])
            return len(seen) > 10

        wait_for(many, "ten connections")
    finally:
        done.set()
        thread.join()
