"""`GeventPyWSGIWorker`: gevent parses the requests; the rest is the gevent worker's."""

from __future__ import annotations

import os

import pytest
from servers import ask, wait_for

pytest.importorskip("gevent")

pytestmark = pytest.mark.slow


def test_tls_and_unix(run_server):
    """The environ says how the request came."""
    with run_server("gevent_pywsgi", "tls") as server:
        assert ask(server).json["scheme"] == "https"
    with run_server("gevent_pywsgi", "unix") as server:
        answer = ask(server).json
        assert answer["remote_addr"] == answer["key"]


def test_it_is_stopped(run_server):
    """A request in hand is answered, and its connection not kept."""
    with run_server("gevent_pywsgi") as server:
        pid = ask(server).json["pid"]
        server.mark()
        with server.connect() as client:
            client.get("/slow?seconds=0.5")
            wait_for(lambda: server.sequences() == ["NA"], "the view")
            os.kill(pid, 15)
            assert client.response().status == 200
            assert client.at_eof()
        server.wait_sequences("NAC")
