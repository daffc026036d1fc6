"""The fixtures: a certificate, and one running server for each server and transport."""

from __future__ import annotations

import contextlib
import signal

import pytest
from certificates import make_certificate
from selecting import is_left_out, reason_to_skip
from servers import running

from flask_rawsocket._tracking.tracker import ConnectionTracker

# A shell's background jobs ignore it, and so would the servers that are started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

SERVERS = ["werkzeug", "sync", "gthread", "gevent", "gevent_pywsgi", "waitress"]
TRANSPORTS = ["tcp", "unix", "tls"]

LONGEST_FIRST = [
    "test_min_rates.py",
    "test_receiving.py",
    "test_docs.py",
    "test_site.py",
    "test_hijack.py",
    "test_tls.py",
    "test_stop.py",
    "test_fresh_environment.py",
    "test_prometheus.py",
]
"""The files that take longest: what begins last would keep one process, and the others waiting."""


def pytest_collection_modifyitems(config, items):
    """Leave out what a server has not or would only say once more; begin with what is long."""
    left_out = {each for each in items if is_left_out(each)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
    items[:] = [each for each in items if each not in left_out]
    for each in items:
        if reason := reason_to_skip(each):
            each.add_marker(pytest.mark.skip(reason=reason))
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """The paths of a self-signed certificate and its key."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def run_server(tmp_path_factory, certificate):
    """A function that runs a server with options and environment of its own, as a context."""

    def run(name, transport="tcp", *options, **kwargs):
        folder = tmp_path_factory.mktemp(f"{name}-{transport}")
        return running(name, transport, folder, certificate, *options, **kwargs)

    return run


@pytest.fixture(scope="session")
def shared_servers(run_server):
    """The servers that tests share, started when first asked for.

    The thread worker calls a view before its body is there, as the others do; what it does with
    bodies otherwise is in `workers/test_receiving.py`.
    """
    env = {"CONTRACT_RAWSOCKET_BODY_BUFFER": "0"}
    with contextlib.ExitStack() as stack:
        started = {}

        def get(name, transport):
            if (name, transport) not in started:
                started[name, transport] = stack.enter_context(
                    run_server(name, transport, app="framing:app", env=env)
                )
            return started[name, transport]

        yield get


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    """Each of the transports."""
    return request.param


@pytest.fixture(params=SERVERS)
def server(request, transport, shared_servers):
    """Each of our servers over each transport, with nothing recorded as far as the test sees."""
    found = shared_servers(request.param, transport)
    found.mark()
    return found


@pytest.fixture
def gthread(transport, shared_servers):
    """The thread worker over each transport, likewise."""
    found = shared_servers("gthread", transport)
    found.mark()
    return found


@pytest.fixture
def tracker():
    """A tracker of the test's own."""
    return ConnectionTracker()


@pytest.fixture
def stack():
    """What is entered here is left when the test ends."""
    with contextlib.ExitStack() as stack:
        yield stack
