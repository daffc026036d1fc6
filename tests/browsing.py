"""A headless Chromium for tests, by its DevTools protocol."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess

import pytest
from servers import wait_for
from websockets.sync.client import connect

CHROMIUM = shutil.which("chromium")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium")


class Page:
    """A page of Chromium.

    Attributes:
        events: what it has reported so far, of the domains that were enabled.
    """

    def __init__(self, ws):
        self.ws = ws
        self.numbers = itertools.count(1)
        self.events = []

    def call(self, method, **params):
        """Call `method`; return its result."""
        number = next(self.numbers)
        self.ws.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.ws.recv(timeout=60))
            if answer.get("id") == number:
                return answer["result"]
            self.events.append(answer)

    def run(self, script):
        """Return what `script` is in the page; wait for it if it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        return answer["result"].get("value")

    def text(self, where):
        """Return the text of an element."""
        return self.run(f"document.querySelector({where!r})?.textContent")


@contextlib.contextmanager
def browsing(folder, url, *more):
    """Open `url` in a browser of its own, with the options `more`."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    # It is to ask nobody but the example: no update, no page that it has in mind for later.
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-pings"]
    options += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "--no-first-run"]
    log = folder / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen([CHROMIUM, *options, *more, url], stderr=stderr) as process,
    ):
        try:
            with _page(*wait_for(lambda: _place(folder), "the browser")) as page:
                yield page
        finally:
            process.terminate()


def _place(folder):
    """Return where the browser listens, and its path there."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / "DevToolsActivePort").read_text().split()
    return None


@contextlib.contextmanager
def _page(port, path):
    place = f"ws://127.0.0.1:{port}"

    def target():
        with connect(place + path, proxy=None) as ws:
            targets = Page(ws).call("Target.getTargets")["targetInfos"]
        return next((each["targetId"] for each in targets if each["type"] == "page"), None)

    with connect(
        f"{place}/devtools/page/{wait_for(target, 'the page')}", proxy=None, max_size=2**24
    ) as ws:
        yield Page(ws)
