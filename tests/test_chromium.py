"""A browser: the example's page outlives a worker, and an aborted fetch stops its view."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from browsing import browsing, needs_chromium
from servers import wait_for

ROOT = Path(__file__).parent.parent
WORDS = "No thread waits for the next word . "

pytestmark = [pytest.mark.slow, needs_chromium]


def say(page, text):
    """Say something in the chat, once the page has joined it; wait until it is heard."""
    is_in = "document.querySelector('#say input').disabled === false"
    wait_for(lambda: page.run(is_in), "the chat")
    page.run(f"document.querySelector('#say input').value = {text!r}")
    page.run("document.querySelector('#say').requestSubmit()")
    wait_for(lambda: text in page.text("#said"), "what was said")


def test_over_a_restart(run_server, tmp_path):
    """EventSource goes on where it was, and the chat joins again, when the worker is another."""
    options = {"app": "example_app.app:app", "env": {"PYTHONPATH": str(ROOT)}}
    with run_server("gthread", "tcp", **options) as server:
        host, port = server.address
        with browsing(tmp_path, f"http://{host}:{port}/") as page:
            say(page, "hello")
            before = page.text("[data-value=pid]")
            page.run("document.querySelector('#ask').click()")
            wait_for(lambda: page.text("#answer").startswith("No thread"), "two words")
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: page.text("#answer") == WORDS, "the whole answer", timeout=30)
            wait_for(lambda: page.text("[data-value=pid]") not in (before, None), "the new worker")
            say(page, "again")
        asked = [line for line in server.log.read_text().splitlines() if "GET /tokens" in line]
        assert len(asked) >= 2  # it may have come back to the worker that was leaving


FETCH = """
window.control = new AbortController();
fetch('/{}', {{signal: control.signal}}).then(answer => answer.text()).catch(() => null); 1
"""


def test_an_aborted_fetch(run_server, tmp_path):
    """Over HTTP/2 it stops its own view, and the page's other requests go on."""
    http2 = pytest.importorskip("gunicorn.http2.connection", reason="needs h2: pip install h2")
    if not hasattr(http2.HTTP2ServerConnection, "pump"):
        pytest.skip("gunicorn before 27.0")
    options = ("--http-protocols", "h2,h1")
    with run_server("gthread", "tls", *options, app="streams:app") as server:
        host, port = server.address
        url = f"https://{host}:{port}/"
        with browsing(tmp_path, url, "--ignore-certificate-errors") as page:
            protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
            wait_for(lambda: page.run(protocol) == "h2", "the page")
            for path in ("ask", "checkpoints", "until", "events?n=3&silent=1"):
                _fetch_and_abort(server, page, path)
            page.run("fetch('/').then(answer => answer.json()).then(told => window.told = told); 1")
            assert wait_for(lambda: page.run("window.told?.requests"), "the last request") >= 6
        sequences = [each for each in server.sequences() if each.count("A") > 2]
        assert len(sequences) == 1  # all of it was on one connection


def _fetch_and_abort(server, page, path):
    before, name = len(server.events()), path.split("?", maxsplit=1)[0]

    def heard_of(what):
        return any(each.get(what) == name for each in server.events()[before:])

    page.run(FETCH.format(path))
    wait_for(lambda: heard_of("began"), "the view")
    page.run("control.abort()")
    wait_for(lambda: heard_of("stopped"), "its end")
