"""The example's page in a browser: its chat and its model's answer outlive a worker."""

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
