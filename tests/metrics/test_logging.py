"""The connection in log lines, and in gunicorn's access log."""

from __future__ import annotations

import logging

import pytest
from servers import wait_for

from flask_rawsocket.metrics import ConnectionFilter

CONFIG = """
from flask_rawsocket.metrics import ConnectionFilter

accesslog = "access"
access_log_format = "%(m)s id=%(conn_id)s key=%(conn_key)s %(s)s"


def post_worker_init(worker):
    worker.log.access_log.addFilter(ConnectionFilter())
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sync", "gthread"])
def test_the_access_log(run_server, tmp_path, name):
    """``conn_id`` and ``conn_key`` are fields of its format."""
    config = tmp_path / "gunicorn.conf.py"
    log = tmp_path / "access"
    config.write_text(CONFIG.replace('"access"', repr(str(log))))
    options = "-c", str(config), "--access-logfile", str(log)
    with run_server(name, "tcp", *options) as server, server.connect() as client:
        said = client.request("/", "Connection: close").json
        expected = f"GET id={said['id']} key={said['key']} 200"
        wait_for(lambda: expected in log.read_text().splitlines(), "the line")


def test_outside_of_a_request():
    """There is no connection."""
    record = logging.makeLogRecord({"msg": "%s", "args": ("hello",)})
    assert ConnectionFilter().filter(record)
    assert (record.conn_id, record.conn_key) == ("-", "-")


@pytest.mark.slow
def test_in_a_view(run_server):
    """A line that a view has logged says on which connection."""
    with run_server("gthread", "tcp", app="counting:app") as server, server.connect() as client:
        said = client.request("/log").json
        expected = f"conn={said['id']} {said['key']}: hello"
        wait_for(lambda: expected in server.log.read_text().splitlines(), "the line")
