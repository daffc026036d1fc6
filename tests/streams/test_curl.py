"""What curl makes of streams: it is strict about the end of a body, and `-f` about all else."""

from __future__ import annotations

import shutil
import subprocess
import threading

import pytest
from servers import wait_for

CURL = shutil.which("curl")
pytestmark = pytest.mark.skipif(CURL is None, reason="needs curl: apt install curl")

BODY = "000001111122222contexts False False same True"
EVENTS = 'data: {"a": 1}\n\nevent: named\nid: 7\ndata: two\ndata: lines\n\ndata: last\n\n'


def curl(server, path, *options):
    """Run curl; give its exit status and what it has received."""
    place = ["http://test"]
    if server.transport == "unix":
        place = ["--unix-socket", server.address, *place]
    else:
        host, port = server.address
        scheme = "https" if server.transport == "tls" else "http"
        place = ["--insecure", f"{scheme}://{host}:{port}"]
    place[-1] += path
    done = subprocess.run(
        [CURL, "--fail", "--silent", "--show-error", "--max-time", "10", *options, *place],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout or done.stderr


@pytest.fixture(params=["--http1.0", "--http1.1"])
def version(request):
    return request.param


def test_complete(live, version):
    """A body and a stream of events are complete."""
    assert curl(live, "/live/body?count=3&size=5", version) == (0, BODY)
    assert curl(live, "/live/events", version) == (0, EVENTS)


def test_group(live, version):
    """A stream that its group closes is complete, too."""

    def ask(path):
        with live.connect() as client:
            return client.request(path, "Connection: close")

    def close():
        wait_for(lambda: ask("/live/members/curl").json["members"], "curl")
        ask("/live/close/curl")

    closing = threading.Thread(target=close)
    closing.start()
    assert curl(live, "/live/join/curl", version)[0] == 0
    closing.join()


@pytest.mark.parametrize("path", ["/live/fails", "/live/fails?early"])
def test_cut(live, path):
    """A body that was cut off is not taken for a complete one."""
    status, text = curl(live, path, "--http1.1")
    assert status in (18, 56), text  # CURLE_PARTIAL_FILE, or CURLE_RECV_ERROR


@pytest.mark.slow
def test_http2(run_server):
    """Over HTTP/2 it is the same, and a generator that fails breaks off its stream."""
    pytest.importorskip("h2", reason="needs h2: pip install 'Flask-RawSocket[http2]'")
    version = subprocess.run([CURL, "--version"], check=True, capture_output=True, text=True)
    if "HTTP2" not in version.stdout:
        pytest.skip("needs a curl with HTTP/2: apt install curl")
    with run_server("gthread", "tls", "--http-protocols", "h2,h1", app="live:app") as server:
        assert curl(server, "/live/body?count=3&size=5", "--http2") == (0, BODY)
        assert curl(server, "/live/events", "--http2") == (0, EVENTS)
        assert curl(server, "/live/fails", "--http2")[0] in (18, 56, 92)
