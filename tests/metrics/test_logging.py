"""The connection in log lines, and in gunicorn's access log."""

from __future__ import annotations

import logging
import os
import pwd

import pytest
from flask import Flask
from servers import wait_for

from flask_rawsocket import RawSocket
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
    assert (record.peer_user, record.peer_uid, record.peer_pid) == ("-", "-", "-")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sync", "gthread"])
def test_the_peer_in_the_access_log(run_server, tmp_path, name):
    """``peer_user``, ``peer_uid`` and ``peer_pid`` are the process that has connected."""
    log = tmp_path / "access"
    config = tmp_path / "gunicorn.conf.py"
    fields = CONFIG.replace(
        "id=%(conn_id)s key=%(conn_key)s", "%(peer_user)s %(peer_uid)s %(peer_pid)s"
    )
    config.write_text(fields.replace('"access"', repr(str(log))))
    options = "-c", str(config), "--access-logfile", str(log)
    me = pwd.getpwuid(os.geteuid())
    for transport, who in ("unix", f"{me.pw_name} {me.pw_uid} {os.getpid()}"), ("tcp", "- - -"):
        with run_server(name, transport, *options) as server, server.connect() as client:
            assert client.request("/", "Connection: close").status == 200
            wait_for(log.read_text, "a line")
        lines = log.read_text().splitlines()  # the first ones have asked whether it is up
        assert set(lines) == {f"GET {who} 200"}
        log.unlink()


def test_a_peer_without_a_name(rawsocket_client):
    """Its number stands for it; a connection that has been closed says nothing of its peer."""
    rawsocket_client.connect("unix", uid=4_000_000)
    seen = []

    @rawsocket_client.application.get("/seen")
    def see():
        record = logging.makeLogRecord({"msg": "hello"})
        ConnectionFilter().filter(record)
        seen.append((record.peer_user, record.peer_uid, record.peer_pid))
        return "seen"

    assert rawsocket_client.get("/seen").status_code == 200
    assert seen == [(4_000_000, 4_000_000, os.getpid())]
    conn = rawsocket_client.conn
    rawsocket_client.peer.leave()
    record = logging.makeLogRecord({"msg": "", "args": {}})
    record.args = {"{rawsocket.connection}e": conn}
    ConnectionFilter().filter(record)
    assert (record.conn_id, record.peer_user) == (conn.id, "-")


@pytest.fixture
def app():
    made = Flask(__name__)
    RawSocket(made)
    return made


@pytest.mark.slow
def test_in_a_view(run_server):
    """A line that a view has logged says on which connection."""
    with run_server("gthread", "tcp", app="counting:app") as server, server.connect() as client:
        said = client.request("/log").json
        expected = f"conn={said['id']} {said['key']}: hello"
        wait_for(lambda: expected in server.log.read_text().splitlines(), "the line")
