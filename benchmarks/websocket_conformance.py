"""The Autobahn test suite's fuzzing client against ``rawsocket.websocket``.

    python benchmarks/websocket_conformance.py PYTHON2 [--cases 1.* ...] [--servers thread serving]

PYTHON2 is a Python 2.7 with ``autobahntestsuite==0.8.2`` (its last release that runs there, which
is the one that people cite). A summary is printed; the exit status is 1 where a case is not OK,
informational or non-strict. Everything goes to 127.0.0.1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from servers import OURS, Setup, make_certificate, running

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.*", "13.*"]
_GOOD = {"OK", "INFORMATIONAL", "NON-STRICT"}
_WHOLE = 3600


@contextlib.contextmanager
def serving(directory: Path, *, tls: bool) -> Iterator[int]:
    """Run the development server for the block; yield its port."""
    import socket  # noqa: PLC0415  for this server only

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    command = [sys.executable, "-m", "flask", "--app", "conformance_app:app", "rawsocket", "run"]
    command += ["--port", str(port)]
    if tls:
        certificate = str(make_certificate(directory))
        command += ["--cert", certificate, "--key", certificate]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    log = (directory / "serving.log").open("wb")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=directory)
    try:
        deadline = 200
        while deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
                break
            deadline -= 1
        yield port
    finally:
        process.terminate()
        process.wait(20)


def fuzz(python: str, directory: Path, url: str, name: str, cases: list[str]) -> Counter[str]:
    """Run the fuzzing client; return how many cases behaved how, and name the bad ones."""
    spec = {
        "options": {"failByDrop": False},
        "outdir": str(directory / "reports"),
        "servers": [{"agent": name, "url": url, "options": {"version": 18}}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (directory / "spec.json").write_text(json.dumps(spec))
    program = "from autobahntestsuite.wstest import run; run()"
    subprocess.run(
        [python, "-c", program, "-m", "fuzzingclient", "-s", str(directory / "spec.json")],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=_WHOLE,
        cwd=directory,
    )
    found = json.loads((directory / "reports" / "index.json").read_text())[name]
    for case, result in found.items():
        if not {result["behavior"], result["behaviorClose"]} <= _GOOD:
            print(f"  {name} {case}: {result['behavior']}, close {result['behaviorClose']}")
    return Counter(each["behavior"] for each in found.values())


def main() -> int:
    """Run it on each server, over TCP and TLS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python")
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--servers", nargs="+", default=["thread", "serving"])
    parser.add_argument("--transports", nargs="+", default=["tcp", "tls"])
    options = parser.parse_args()
    bad = 0
    for server in options.servers:
        for transport in options.transports:
            with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
                directory, tls = Path(name), transport == "tls"
                if server == "serving":
                    port = stack.enter_context(serving(directory, tls=tls))
                else:
                    setup = Setup(OURS[server], "conformance_app:app", tls=tls)
                    started = running(setup, directory, machine.Cores.everywhere())
                    port = stack.enter_context(started).endpoint.port
                url = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/echo"
                counts = fuzz(
                    options.python, directory, url, f"{server}-{transport}", options.cases
                )
            print(f"{server} {transport}: {sum(counts.values())} cases, {dict(counts)}", flush=True)
            bad += sum(count for kind, count in counts.items() if kind not in _GOOD)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
