"""Starts a measured server, waits until it answers, and always ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from client import BadAnswerError, Endpoint, get_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: The two sides.  A benchmark compares the worker of one name on both.
PLAIN = {"thread": "gthread", "sync": "sync", "gevent": "gevent"}
OURS = {
    "thread": "flask_rawsocket.workers.ThreadWorker",
    "sync": "flask_rawsocket.workers.SyncWorker",
    "gevent": "flask_rawsocket.GeventWorker",
}

THREADS = 4
_START_DEADLINE = 20.0
_STOP_DEADLINE = 8.0
_TIMEOUT = 30
_POLL = 0.02
_LOG_LINES = 40
_ALARMING = ("[ERROR]", "[CRITICAL]", "[WARNING]", "Traceback")


class ServerFailedError(Exception):
    """The server did not start, or did not stay; the text ends with its log."""


@dataclass(frozen=True)
class Setup:
    """How a server is started; two sides differ in ``worker`` alone."""

    worker: str
    app: str
    """What gunicorn is given: a module here, and a factory in it."""
    unix: bool = False
    tls: bool = False
    keepalive: int = 10
    connections: int = 1000
    threads: int = THREADS
    prefix: tuple[str, ...] = ()
    """What the server is run under, such as valgrind with its options."""
    config: str = os.devnull
    environment: tuple[tuple[str, str], ...] = ()
    """What is set beside the environment that we have ourselves."""
    patience: float = 1.0
    """How many times longer than usual everything may take."""


class Server:
    """A running server; what asks for its worker holds for a gunicorn with one worker."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        endpoint: Endpoint,
        log: Path,
        patience: float = 1.0,
    ) -> None:
        self.process = process
        self.endpoint = endpoint
        self._log = log
        self._patience = patience

    def worker_pid(self) -> int:
        """Return the pid of the one worker.

        Raises:
            ServerFailedError: there is none, or there are several.

        """
        try:
            pids = machine.children(self.process.pid)
        except OSError as exc:
            raise self.failed("the server is gone") from exc
        if len(pids) != 1:
            raise self.failed(f"one worker expected, found {pids}")
        return pids[0]

    def complaints(self) -> list[str]:
        """Return the lines of the log that nobody should overlook."""
        return [line for line in self._lines() if any(word in line for word in _ALARMING)]

    def failed(self, what: str) -> ServerFailedError:
        """Make the error that says ``what``, with the end of the log."""
        tail = "\n".join("    " + line for line in self._lines()[-_LOG_LINES:])
        return ServerFailedError(f"{what}; its log ends with\n{tail or '    (nothing)'}")

    def _lines(self) -> list[str]:
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()

    def wait_ready(self) -> None:
        """Return when a GET is answered.

        Raises:
            ServerFailedError: the process ended or the deadline passed.

        """
        patience = _START_DEADLINE * self._patience
        deadline = time.monotonic() + patience
        last: Exception | None = None
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise self.failed(f"the server ended with {self.process.returncode}")
            try:
                get_once(self.endpoint, timeout=2.0 * self._patience)
            except (OSError, BadAnswerError) as exc:
                last = exc
                time.sleep(_POLL)
            else:
                return
        raise self.failed(f"no answer within {patience:.0f} s (last: {last!r})") from last

    def stop(self) -> None:
        """End it: TERM, then KILL to it and its worker if it does not go."""
        if self.process.poll() is not None:
            return  # a worker that lost its master ends by itself
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_DEADLINE * self._patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: start_new_session
            self.process.wait(_STOP_DEADLINE)


@contextlib.contextmanager
def running(setup: Setup, directory: Path, cores: machine.Cores) -> Iterator[Server]:
    """Start a gunicorn for the block, its files in ``directory``, and end it afterwards.

    Raises:
        ServerFailedError: it does not answer in time.

    """
    endpoint = _endpoint(setup, directory)
    environment = _environment() | dict(setup.environment)
    launch = Launch(tuple(_command(setup, endpoint)), endpoint, environment, setup.patience)
    with launched(launch, directory, cores) as server:
        yield server


@dataclass(frozen=True)
class Launch:
    """A command that becomes a server, whatever server that is."""

    command: tuple[str, ...]
    endpoint: Endpoint
    environment: Mapping[str, str]
    patience: float = 1.0

    @classmethod
    def on_tcp(cls, command: Callable[[str, int], list[str]]) -> Launch:
        """Give the command a host and a free port, and this folder to find modules in."""
        endpoint = Endpoint(port=_free_port())
        environment = _environment() | {"PYTHONPATH": str(Path(__file__).parent)}
        return cls(tuple(command(endpoint.host, endpoint.port)), endpoint, environment)


@contextlib.contextmanager
def launched(launch: Launch, directory: Path, cores: machine.Cores) -> Iterator[Server]:
    """Run a server's command for the block, and end it afterwards.

    Raises:
        ServerFailedError: it does not answer in time.

    """
    log = directory / f"server-{time.monotonic_ns()}.log"
    with log.open("wb") as output, machine.pinned(cores.server):
        process = subprocess.Popen(
            launch.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=launch.environment,
            cwd=directory,  # which is first on its path: PYTHONPATH shall decide, not this folder
            start_new_session=True,
        )
    server = Server(process, launch.endpoint, log, launch.patience)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


def make_certificate(directory: Path) -> Path:
    """Make a key and a self-signed certificate for 127.0.0.1, in one file, for a day."""
    target = directory / "certificate.pem"
    if target.exists():
        return target
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(target), "-out", str(target)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError as exc:
        raise ServerFailedError("TLS needs openssl: apt-get install openssl") from exc
    if run.returncode:
        target.unlink(missing_ok=True)
        raise ServerFailedError(f"openssl made no certificate: {run.stderr.strip()}")
    return target


def _endpoint(setup: Setup, directory: Path) -> Endpoint:
    if setup.unix:
        return Endpoint(path=directory / f"{time.monotonic_ns()}.sock")
    certificate = make_certificate(directory) if setup.tls else None
    return Endpoint(port=_free_port(), certificate=certificate)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _command(setup: Setup, endpoint: Endpoint) -> list[str]:
    command = [*setup.prefix, sys.executable, "-m", "gunicorn"]
    command += ["--config", setup.config, "--no-control-socket"]
    command += ["--bind", endpoint.bind, "--workers", "1", "--worker-class", setup.worker]
    command += ["--worker-connections", str(setup.connections)]
    command += ["--keep-alive", str(setup.keepalive)]
    command += ["--graceful-timeout", str(round(setup.patience))]
    command += ["--timeout", str(round(_TIMEOUT * setup.patience))]
    command += ["--pythonpath", str(Path(__file__).parent)]
    if setup.worker in (PLAIN["thread"], OURS["thread"]):
        command += ["--threads", str(setup.threads)]  # more than one would turn sync into gthread
    if endpoint.certificate:
        command += ["--certfile", str(endpoint.certificate), "--keyfile", str(endpoint.certificate)]
    return [*command, setup.app]


def _environment() -> dict[str, str]:
    """Drop what would configure the server behind our back."""
    dropped = ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "SENDFILE", "FLASK_DEBUG", "PORT")
    return {name: value for name, value in os.environ.items() if name not in dropped}
