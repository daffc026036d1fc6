"""What is measured: one line for each scenario, and how long a run takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import FACTORIES
from servers import OURS, PLAIN, Setup

if TYPE_CHECKING:
    from pathlib import Path

    from machine import Cores

#: The targets that the project has set itself.
THROUGHPUT_TARGET = 0.97
MEMORY_TARGET = 1536


@dataclass(frozen=True)
class Throughput:
    """Requests each second: one worker class, one kind of socket, keep-alive or not."""

    kind: str
    unix: bool = False
    tls: bool = False
    close: bool = False


@dataclass(frozen=True)
class IdleMemory:
    """The worker's memory for each idle kept-alive connection."""

    unix: bool = False


@dataclass(frozen=True)
class Silent:
    """Latency of one GET beside connections that have not sent a byte."""


Scenario = Throughput | IdleMemory | Silent

SCENARIOS: dict[str, Scenario] = {
    "keepalive-tcp": Throughput("thread"),
    "keepalive-unix": Throughput("thread", unix=True),
    "keepalive-tls": Throughput("thread", tls=True),
    "close-tcp": Throughput("thread", close=True),
    "close-unix": Throughput("thread", unix=True, close=True),
    "close-tls": Throughput("thread", tls=True, close=True),
    "sync-tcp": Throughput("sync", close=True),
    "sync-unix": Throughput("sync", unix=True, close=True),
    "gevent-tcp": Throughput("gevent"),
    "gevent-unix": Throughput("gevent", unix=True),
    "gevent-tls": Throughput("gevent", tls=True),
    "gevent-close-tcp": Throughput("gevent", close=True),
    "memory-tcp": IdleMemory(),
    "memory-unix": IdleMemory(unix=True),
    "silent": Silent(),
}


@dataclass(frozen=True)
class Effort:
    """How much of everything one invocation does; every number is a bound.

    Throughput: ``pairs`` times a fresh server of each side, both up at once, and on each
    pair ``rounds`` runs of ``seconds`` for each side, in turn.  Short runs in close
    succession, since what disturbs a shared machine lasts for seconds: within one
    process single seconds differ by 5 to 15 %, from process to process hardly more.
    """

    pairs: int
    rounds: int
    seconds: int
    memory_rounds: int
    idle_connections: int
    silent_timeout: float
    silent_gets: int
    load_connections: int = 16
    warm_up_requests: int = 100


QUICK = Effort(
    pairs=1,
    rounds=3,
    seconds=1,
    memory_rounds=1,
    idle_connections=1000,
    silent_timeout=3.0,
    silent_gets=5,
)
FULL = Effort(
    pairs=3,
    rounds=8,
    seconds=1,
    memory_rounds=3,
    idle_connections=5000,
    silent_timeout=20.0,
    silent_gets=20,
)


@dataclass(frozen=True)
class Bench:
    """What all the runs of one invocation share."""

    effort: Effort
    app: str
    cores: Cores
    directory: Path
    plain_twice: bool = False

    def setups(self, kind: str, **options: bool | int) -> dict[str, Setup]:
        """Return the two sides' servers, in the order in which they are run."""
        second = PLAIN if self.plain_twice else OURS
        app = f"app:{FACTORIES[self.app].__name__}()"
        return {
            "plain": Setup(worker=PLAIN[kind], app=app, **options),
            "ours": Setup(worker=second[kind], app=app, **options),
        }
