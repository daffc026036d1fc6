"""Bursts of POSTs through a proxy around the keep-alive time: ``make bench-nginx``.

    python benchmarks/nginx_burst.py [--posts 2000] [--hook 0.2] [--proxies nginx haproxy]

A proxy keeps its connections to the server, which ends each after a second without a request. A
POST that the proxy sends just then is lost, and a 502 for the client: a POST may not be sent again.
So the time between the decision to close and the FIN counts, and a CLOSED hook must not lengthen
it. Ours has a CLOSED hook that sleeps, plain gthread none; both are up at the same time, behind
the same proxy, and get their bursts in turn. The pauses lie around the keep-alive time, the same
for both, and the POSTs of a burst begin a few milliseconds apart. Everything is on 127.0.0.1.

*connections* is how many of the proxy's to the server have carried a POST: more than the POSTs of a
burst say that the server has ended some, fewer than all POSTs that the proxy has kept others.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from client import Endpoint, warm_up
from servers import OURS, PLAIN, Launch, ServerFailedError, Setup, launched, running
from tables import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POSTS = 2000
AT_ONCE = 20
KEEP_ALIVE = 1
EARLIEST, LATEST = 0.85, 1.35
"""How long the pauses are, in seconds."""
STAGGER = 0.003
"""Seconds between the POSTs of a burst."""
_TIMEOUT = 15.0
_BODY = b"x" * 512
_NOWHERE = machine.Cores.everywhere()
_SIDES = {"gthread, no hook": ("thread", PLAIN, "plain"), "ours": ("thread", OURS, "hooked")}

NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream server {{ server {upstream}; keepalive 64; keepalive_timeout 60s; }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend clients
    bind {listen}
    default_backend servers
backend servers
    server only {upstream}
"""


@dataclass(frozen=True)
class Proxy:
    """How a proxy is configured, started and asked for its version."""

    config: str
    options: tuple[str, ...]
    ask: tuple[str, ...]

    def launch(self, name: str, server: Endpoint, directory: Path) -> Launch:
        """Configure it in front of ``server``."""

        def command(host: str, port: int) -> list[str]:
            path = directory / f"{name}-{port}.conf"
            path.write_text(
                self.config.format(
                    directory=directory, listen=f"{host}:{port}", upstream=server.bind
                ),
                encoding="utf-8",
            )
            return [_program(name) or name, *self.options, str(path)]

        return Launch.on_tcp(command)

    def version(self, name: str) -> str:
        """Give the first line that the program says about itself."""
        command = [_program(name) or name, *self.ask]
        run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return (run.stdout or run.stderr).partition("\n")[0].strip()


PROXIES = {
    "nginx": Proxy(NGINX, ("-e", "stderr", "-c"), ("-v",)),
    "haproxy": Proxy(HAPROXY, ("-db", "-f"), ("-v",)),
}


def _program(name: str) -> str | None:
    """Find a program; Debian puts servers where a user's PATH does not look."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")


@dataclass
class Outcome:
    """What came of one server's POSTs."""

    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    connections: set[str] = field(default_factory=set)

    @property
    def lost(self) -> int:
        """How many POSTs the proxy had no answer for."""
        return self.statuses.total() - self.statuses["200"]

    def row(self, proxy: str, side: str) -> list[str]:
        """Give the row of the table."""
        other = {k: n for k, n in self.statuses.items() if k not in ("200", "502")}
        share = f"{self.statuses['502']} of {self.statuses.total()}"
        return [proxy, side, share, str(len(self.connections)), str(other or "none")]


def post(endpoint: Endpoint, outcome: Outcome, delay: float) -> None:
    """Make one POST on a connection of its own to the proxy."""
    time.sleep(delay)
    try:
        with contextlib.closing(
            http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=_TIMEOUT)
        ) as connection:
            connection.request("POST", "/", _BODY)
            answer = connection.getresponse()
            text = answer.read().decode("latin-1")
    except (OSError, http.client.HTTPException) as exc:
        outcome.statuses[type(exc).__name__] += 1
        return
    outcome.statuses[str(answer.status)] += 1
    if answer.status == http.client.OK:
        outcome.connections.add(text)


def pauses(bursts: int) -> Iterator[float]:
    """Spread them evenly over the time, in an order that is always the same."""
    step = (LATEST - EARLIEST) / max(1, bursts - 1)
    lengths = [EARLIEST + step * n for n in range(bursts)]
    random.Random(bursts).shuffle(lengths)  # noqa: S311  # not a secret
    yield from lengths


def bursts(endpoints: dict[str, Endpoint], posts: int) -> dict[str, Outcome]:
    """Send each server its POSTs, a burst to the one and a burst to the other."""
    outcomes = {side: Outcome() for side in endpoints}
    order = list(endpoints)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for pause in pauses(-(-posts // AT_ONCE)):
            for side in order:
                sent = [
                    pool.submit(post, endpoints[side], outcomes[side], STAGGER * n)
                    for n in range(AT_ONCE)
                ]
                for each in sent:
                    each.result()
            time.sleep(pause)
    return outcomes


def measure(name: str, posts: int, hook: float, directory: Path) -> dict[str, Outcome]:
    """Start both servers and a proxy before each; send the bursts; end everything.

    Raises:
        ServerFailedError: one of them does not answer, or complained.

    """
    environment = (("BURST_HOOK_SECONDS", str(hook)),)
    with contextlib.ExitStack() as stack:
        endpoints, servers = {}, []
        for side, (worker, classes, factory) in _SIDES.items():
            app = f"burst_app:{factory}()"
            setup = Setup(classes[worker], app, keepalive=KEEP_ALIVE, environment=environment)
            server = stack.enter_context(running(setup, directory, _NOWHERE))
            warm_up(server.endpoint, AT_ONCE)
            launch = PROXIES[name].launch(name, server.endpoint, directory)
            endpoints[side] = stack.enter_context(launched(launch, directory, _NOWHERE)).endpoint
            servers.append((server, server.worker_pid()))
        outcomes = bursts(endpoints, posts)
        for server, pid in servers:
            if server.worker_pid() != pid or server.complaints():
                raise server.failed("the worker was replaced, or complained")
    return outcomes


def _bounded(lowest: float, highest: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = kind(text)
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"from {lowest:g} to {highest:g}")
        return number

    return parse


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posts", type=_bounded(AT_ONCE, 20000, int), default=POSTS)
    parser.add_argument("--hook", type=_bounded(0, 2, float), default=0.2, help="seconds (0.2)")
    parser.add_argument("--proxies", nargs="+", choices=PROXIES, default=["nginx"])
    return parser.parse_args(arguments)


def _measured(options: argparse.Namespace, directory: Path) -> Iterator[tuple[list[str], int]]:
    """Give each proxy's rows, and by how many POSTs ours has lost more than plain."""
    for name in options.proxies:
        if _program(name) is None:
            print(f"There is no {name} here: nothing is tried behind it (apt install {name}).")
            continue
        print(PROXIES[name].version(name))
        outcomes = measure(name, options.posts, options.hook, directory)
        plain, ours = (outcomes[side].lost for side in _SIDES)
        for side, outcome in outcomes.items():
            label = side if side != "ours" else f"ours, CLOSED hook of {options.hook * 1000:.0f} ms"
            yield outcome.row(name, label), ours - plain


def main(arguments: list[str]) -> int:
    """Run it; the exit status is 1 where ours has lost more than plain."""
    options = _parse(arguments)
    machine.leave_on_signals()
    for what, value in machine.versions().items():
        print(f"{what}: {value}")
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        try:
            found = list(_measured(options, Path(directory)))
        except ServerFailedError as exc:
            print(exc, file=sys.stderr)
            return 1
    if not found:
        return 0
    print(
        f"\nBursts of {AT_ONCE} POSTs, pauses {EARLIEST} to {LATEST} s, keep-alive {KEEP_ALIVE} s"
    )
    head = ("proxy", "server", "502s", "connections", "other than 200 and 502")
    print("\n" + table(head, [row for row, _ in found]))
    return int(any(more > 0 for _, more in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
