"""How soon a view stops whose client aborts its request over HTTP/2.

    python benchmarks/http2_resets.py [--resets 30] [--aborts 10] [--limit 200]

A stream is reset by RST_STREAM, and a ``fetch`` is aborted in Chromium where that is installed,
while its view runs, on the thread worker and on the gevent worker, over TLS. The time is that from
before the reset is sent, or the script is run that aborts, to the end of the view by its own clock,
which is this program's. Views, clients and servers are those of the tests; gunicorn has to be 27.0
or newer.

Everything goes to 127.0.0.1, in bounded numbers: half a minute. The exit status is 1 when a view
took longer than the limit, in milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
from tables import table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from browsing import CHROMIUM, browsing  # of the tests
from certificates import make_certificate
from multiplexing import Client, recorded
from servers import running, wait_for

WORKERS = {"gthread": "Worker", "gevent": "GeventWorker"}
VIEWS = {
    "ask": "`is_disconnected()`",
    "checkpoints": "`checkpoint()`",
    "until": "`until_disconnected()`",
    "events?silent=1": "`events()`",
}
FETCH = """
window.control = new AbortController();
fetch('/{}', {{signal: control.signal}}).then(answer => answer.text()).catch(() => null); 1
"""


class Watched:
    """One run of a view, on a server of the tests."""

    def __init__(self, server: Any, view: str) -> None:
        self._server = server
        self._name = view.partition("?")[0]
        self._before = len(server.events())

    def wait_begun(self) -> None:
        """Return when it runs."""
        wait_for(lambda: self._recorded(began=self._name), "the view")

    def stopped_at(self) -> float:
        """Return when it has stopped, by the monotonic clock."""
        at: float = wait_for(lambda: self._recorded(stopped=self._name), "its end")["at"]
        return at

    def _recorded(self, **wanted: str) -> Any:
        return recorded(self._server, self._before, **wanted)


def reset(server: Any, view: str, count: int) -> list[float]:
    """Reset `count` streams of one connection; return the seconds that the view took to stop."""
    times = []
    with Client(server) as client:
        for _ in range(count):
            watched = Watched(server, view)
            stream = client.begin(f"/{view}")
            client.flush()
            watched.wait_begun()
            client.h2.reset_stream(stream, error_code=8)  # CANCEL
            sent = time.monotonic()
            client.flush()
            times.append(watched.stopped_at() - sent)
            client.request("/")
    return times


def abort(server: Any, page: Any, view: str, count: int) -> list[float]:
    """Abort `count` requests of a page; return the seconds that the view took to stop."""
    times = []
    for _ in range(count):
        watched = Watched(server, view)
        page.run(FETCH.format(view))
        watched.wait_begun()
        sent = time.monotonic()
        page.run("control.abort()")
        times.append(watched.stopped_at() - sent)
    return times


def measure(name: str, folder: Path, resets: int, aborts: int) -> list[tuple[str, Any, Any]]:
    """Return the times of each view on the worker `name`: those of resets, and of a browser's."""
    certificate = make_certificate(folder)
    options = ("--http-protocols", "h2,h1")
    with contextlib.ExitStack() as stack:
        made = running(name, "tls", folder / name, certificate, *options, app="streams:app")
        server = stack.enter_context(made)
        page = None
        if CHROMIUM and aborts:
            host, port = server.address
            browser = folder / f"{name}-browser"
            browser.mkdir()
            url = f"https://{host}:{port}/"
            page = stack.enter_context(browsing(browser, url, "--ignore-certificate-errors"))
            protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
            wait_for(lambda: page.run(protocol) == "h2", "the page over HTTP/2")
        return [
            (view, reset(server, view, resets), page and abort(server, page, view, aborts))
            for view in VIEWS
        ]


def said(times: list[float] | None) -> str:
    """Return the median and the worst of `times`, in milliseconds."""
    if not times:
        return "-"
    return f"{statistics.median(times) * 1000:.1f} ms, {max(times) * 1000:.1f} ms"


def main() -> int:
    """Run it; the exit status is 1 where a view took longer than the limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--resets", type=int, default=30, help="streams that are reset for each view"
    )
    parser.add_argument("--aborts", type=int, default=10, help="requests that a browser aborts")
    parser.add_argument("--limit", type=float, default=200.0, help="milliseconds that one may take")
    asked = parser.parse_args()
    machine.leave_on_signals()
    for what, value in machine.versions().items():
        print(f"- {what}: {value}")
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, worker in WORKERS.items():
            for view, resets, aborts in measure(name, Path(folder), asked.resets, asked.aborts):
                rows.append([f"`{worker}`", VIEWS[view], said(resets), said(aborts)])
                worst = max([worst, *resets, *(aborts or ())])
    head = ["worker", "the view", "reset: median, worst", "Chromium: median, worst"]
    print(f"\n{table(head, rows)}")
    return worst * 1000 > asked.limit


if __name__ == "__main__":
    sys.exit(main())
