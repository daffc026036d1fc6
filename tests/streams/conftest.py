"""Servers whose application returns streams."""

from __future__ import annotations

import contextlib

import pytest

SERVERS = ["werkzeug", "sync", "gthread", "gevent"]


@pytest.fixture(scope="package")
def running_servers(run_server):
    """Start a server when it is first asked for; end it with the last test of the folder."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(*key):
            if key not in started:
                name, transport, app = key
                started[key] = stack.enter_context(run_server(name, transport, app=app))
            return started[key]

        yield get


@pytest.fixture(params=SERVERS)
def live(request, transport, running_servers):
    """Each of our servers over each transport, with views that return streams."""
    found = running_servers(request.param, transport, "live:app")
    found.mark()
    return found


@pytest.fixture
def thread_worker(running_servers):
    """The thread worker over TCP, for what does not depend on the server."""
    found = running_servers("gthread", "tcp", "live:app")
    found.mark()
    return found
