"""The public names, each written out: one that comes or goes changes this file."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import flask_rawsocket
from flask_rawsocket import errors, workers

PUBLIC = {
    "flask_rawsocket": [
        "TRANSITIONS",
        "AlreadyHijackedError",
        "CloseReason",
        "ConnState",
        "Connection",
        "ConnectionBrokenError",
        "ConnectionClosedError",
        "ConnectionMap",
        "HijackedSocket",
        "InvalidStateError",
        "NoConnectionError",
        "ProxyHeader",
        "ProxyTLS",
        "RawSocket",
        "RawSocketError",
        "RemoteAddr",
        "UnsupportedError",
        "current_conn",
        "sockinfo",
    ],
    "flask_rawsocket.errors": [
        "AlreadyHijackedError",
        "ConnectionBrokenError",
        "ConnectionClosedError",
        "InvalidStateError",
        "NoConnectionError",
        "RawSocketError",
        "UnsupportedError",
    ],
    "flask_rawsocket.metrics": [
        "TABLE",
        "ConnectionFilter",
        "Instrument",
        "Kind",
        "OpenTelemetryMetrics",
        "PrometheusMetrics",
        "opentelemetry",
        "prometheus",
    ],
    "flask_rawsocket.serving": [
        "BaseWSGIServer",
        "ForkingWSGIServer",
        "ThreadedWSGIServer",
        "WSGIRequestHandler",
        "is_running_from_reloader",
        "make_server",
        "replacing_werkzeug",
        "run_simple",
    ],
    "flask_rawsocket.waitress": ["create_server", "serve"],
    "flask_rawsocket.sockinfo": [
        "BBRInfo",
        "CongestionState",
        "DCTCPInfo",
        "FieldInfo",
        "FieldRow",
        "Options",
        "PeerCredentials",
        "PeerStatus",
        "Queues",
        "TCPInfo",
        "TCPOptions",
        "TCPState",
        "TLSInfo",
        "VegasInfo",
        "abort",
        "congestion",
        "congestion_info",
        "cookie",
        "field_table",
        "original_destination",
        "peer_credentials",
        "peer_pidfd",
        "peer_security_label",
        "peer_status",
        "queues",
        "remember_server_name",
        "reset",
        "save_syn",
        "saved_syn",
        "set_congestion",
        "set_dead_peer_timeout",
        "tcp_info",
        "tls_info",
    ],
    "flask_rawsocket.streams": [
        "Broker",
        "Event",
        "Group",
        "LocalBroker",
        "Member",
        "Message",
        "Stream",
        "WebSocket",
        "WebSocketClosedError",
        "current_stream",
    ],
    "flask_rawsocket.testing": [
        "Peer",
        "RawSocketClient",
        "RawSocketServer",
        "Running",
        "SocketClient",
        "wait_for",
    ],
    "flask_rawsocket.workers": ["SyncWorker", "ThreadWorker"],
}

WORKERS = {
    "Worker": workers.ThreadWorker,
    "SyncWorker": workers.SyncWorker,
    "ThreadWorker": workers.ThreadWorker,
}
"""What the package has without listing it in `__all__`: gunicorn is optional."""


@pytest.mark.parametrize("module", PUBLIC)
def test_all(module):
    """`__all__` is this list, and every name in it is there."""
    found = importlib.import_module(module)
    assert found.__all__ == PUBLIC[module]
    assert [name for name in found.__all__ if not hasattr(found, name)] == []


@pytest.mark.parametrize("module", PUBLIC)
def test_import_star(module):
    """`from ... import *` gives these names and no others."""
    names = {}
    exec(f"from {module} import *", names)
    names.pop("__builtins__")
    assert sorted(names) == sorted(PUBLIC[module])


@pytest.mark.parametrize("name", WORKERS)
def test_workers(name):
    """A worker is the package's own name for it, and not in `__all__`."""
    assert getattr(flask_rawsocket, name) is WORKERS[name]
    assert name not in flask_rawsocket.__all__


@pytest.mark.parametrize("name", WORKERS)
def test_gunicorn_is_imported_late(name):
    """Only asking for a worker imports gunicorn."""
    program = (
        "import sys, flask_rawsocket\n"
        "assert 'gunicorn' not in sys.modules\n"
        f"flask_rawsocket.{name}\n"
        "assert 'gunicorn' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)


def test_no_such_name():
    """A name that the package does not have is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        flask_rawsocket.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", errors.__all__)
def test_errors(name):
    """Every error is a `RawSocketError`, and the package's as well."""
    error = getattr(errors, name)
    assert issubclass(error, errors.RawSocketError)
    assert getattr(flask_rawsocket, name) is error
    assert error.__doc__


def test_a_system_without_gunicorn():
    """Where there is no `fcntl`, as on Windows, gunicorn does not run, and its version is fine."""
    program = (
        "import sys, flask_rawsocket\n"  # which needs it on Linux alone
        "sys.modules['fcntl'] = None\n"
        "try:\n"
        "    flask_rawsocket.Worker\n"
        "except RuntimeError as exc:\n"
        "    print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=30, check=True, capture_output=True, text=True
    )
    assert done.stdout.count("\n") == 1
    assert "gunicorn, which does not run on this system" in done.stdout
