"""The table of docs/streaming.md, "Where a thread is held": what the servers do, row by row."""

from __future__ import annotations

import pytest
import stream_table as table

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_ours(live, version):
    """HTTP/1.0 and 1.1 on the servers of this package; a WebSocket needs 1.1."""
    assert table.of_server(live, version) == table.written()[table.OURS]
    live.wait_sequences(*["NAHC"] * 2, "NAC")


def test_http2(run_server):
    """HTTP/2."""
    pytest.importorskip("h2")
    with run_server("gthread", "tls", *table.HTTP2_OPTIONS, app="live:app") as server:
        assert table.of_http2(server) == table.written()[table.HTTP2]


@pytest.mark.parametrize("name", table.PLAIN_SERVERS)
def test_plain(running_servers, name):
    """Servers that are not ours."""
    server = running_servers(name, "tcp", "live:app")
    assert table.of_server(server) == table.written()[table.PLAIN]


def test_test_client(tmp_path):
    """Flask's test client."""
    assert table.of_test_client(tmp_path) == table.written()[table.TEST_CLIENT]


def test_no_other_rows():
    """There is no row that nobody has asked for."""
    assert set(table.written()) == {table.OURS, table.HTTP2, table.PLAIN, table.TEST_CLIENT}
