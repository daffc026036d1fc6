"""Run the demo as `make demo` does, on ports and a socket of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from servers import PATIENCE, wait_for

ROOT = Path(__file__).parent.parent


@dataclass
class Demo:
    """The demo, where it says it is."""

    process: subprocess.Popen
    log: Path
    unix: str

    def find(self, pattern):
        """Return what `pattern` finds in what the demo has printed."""
        return re.search(pattern, self.log.read_text())

    @property
    def url(self):
        return self.find(r"http://127\.0\.0\.1:\d+")[0]

    @property
    def tls_url(self):
        return self.find(r"https://127\.0\.0\.1:\d+")[0]


def start(log, **environ):
    """Start `python -m example_app`, with all that it prints in a log."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "example_app"],
            cwd=ROOT,
            env=os.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


@contextlib.contextmanager
def launched(folder, **environ):
    """Run the demo until the block ends, and Control-C with it."""
    places = {"DEMO_BIND": "127.0.0.1:0", "DEMO_TLS_BIND": "127.0.0.1:0"}
    places |= {"DEMO_SOCKET": str(folder / "demo.sock"), **environ}
    log = folder / "log"
    process = start(log, **places)
    demo = Demo(process, log, places["DEMO_SOCKET"])
    try:
        wait_for(lambda: demo.find("Control-C") or process.poll(), "the demo to be ready")
        yield demo
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            assert process.wait(PATIENCE) == 0, log.read_text()
        except subprocess.TimeoutExpired:
            process.terminate()
            raise
