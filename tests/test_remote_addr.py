"""REMOTE_ADDR of UNIX peers: the override or empty, never a name that the client has chosen."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest
from conftest import SERVERS
from servers import PATIENCE, Client

pytestmark = pytest.mark.slow

NAMES = {
    "address": b"127.0.0.1",
    "log-lines": b"x\n127.0.0.1 - - forged \x1b[31m",
    "abstract": b"\0abstract-%d",
    "abstract-not-utf-8": b"\0\xff\xfe-%d",
    "abstract-address": b"\x00127.0.0.1-%d",
}


@pytest.fixture(scope="module")
def started(run_server):
    """The servers, each with the setting on, off, and with an application without RawSocket."""
    with contextlib.ExitStack() as stack:
        servers = {}

        def get(name, setting):
            if (name, setting) not in servers:
                kwargs = {"app": "bare:app"} if setting == "bare" else {}
                if setting == "off":
                    kwargs["env"] = {"CONTRACT_RAWSOCKET_UNIX_REMOTE_ADDR": "false"}
                context = run_server(name, "unix", **kwargs)
                servers[name, setting] = stack.enter_context(context)
            return servers[name, setting]

        yield get


@contextlib.contextmanager
def bound_to(name, address):
    """Connect a client that has bound its end to `name`."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(name.replace(b"%d", str(os.getpid()).encode()))
        sock.settimeout(PATIENCE)
        sock.connect(address)
        yield Client(sock)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("setting", ["on", "off", "bare"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_name_that_the_client_has_chosen(started, server, setting, name, tmp_path, monkeypatch):
    """It is not REMOTE_ADDR, forges no line of the log, and breaks nothing; nor does garbage."""
    server = started(server, setting)
    monkeypatch.chdir(tmp_path)  # for the names that are relative paths
    with bound_to(NAMES[name], server.address) as client:
        answer = client.request("/", "Connection: close")
        assert answer.status == 200
    expected = "<local>" if server.name == "werkzeug" else ""
    if setting == "on":
        expected = answer.json["key"]
        assert expected.startswith("@")
    assert answer.json["remote_addr"] == expected
    for path in tmp_path.iterdir():
        path.unlink()
    with bound_to(NAMES[name], server.address) as client:
        client.send(b"garbage\r\n\r\n")
        assert b"400" in client.rest()
    text = server.log.read_text()
    assert "forged" not in text
    assert "Traceback" not in text
