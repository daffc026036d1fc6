"""The counts for Prometheus: they add up to what clients have done, over all workers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.parser import text_string_to_metric_families
from servers import wait_for

from flask_rawsocket import CloseReason, RawSocket, metrics
from flask_rawsocket.metrics._table import TABLE, Kind

WORKERS = 4
DOCS = Path(__file__).parents[2] / "docs"


class Counts:
    """What a scrape has returned; a sample without a value is 0."""

    def __init__(self, text):
        self.text = text
        self.families = {each.name: each for each in text_string_to_metric_families(text)}
        self.samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __getitem__(self, key):
        return self.samples.get(key if isinstance(key, tuple) else (key,), 0)

    def total(self, name):
        return sum(value for key, value in self.samples.items() if key[0] == name)

    def reasons(self):
        name = "rawsocket_connections_closed_total"
        return {key[1]: value for key, value in self.samples.items() if key[0] == name and value}


def scrape(server):
    """Scrape, by a connection that is over when the next one comes."""
    with server.connect() as client:
        answer = client.request("/metrics", "Connection: close")
        assert answer.status == 200
        assert client.rest() == b""
        return Counts(answer.body.decode())


@pytest.fixture
def counted(run_server, tmp_path):
    """Run a server whose workers share their counts."""

    @contextlib.contextmanager
    def run(name="gthread", transport="tcp", *options, folder="prometheus"):
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        env = {"PROMETHEUS_MULTIPROC_DIR": str(path)}
        with run_server(name, transport, *options, app="counting:app", env=env) as server:
            yield server

    return run


def is_settled(server):
    """Scrape until no connection is open but the scrape's own; return the last one."""

    def look():
        counts = scrape(server)
        opened = counts.total("rawsocket_connections_opened_total")
        left = opened - counts.total("rawsocket_connections_closed_total")
        return counts if counts.total("rawsocket_connections") == left == 1 else None

    return wait_for(look, "all connections to have ended")


def differences(before, after, scrapes):
    """Return what was counted between two scrapes, without those in between."""
    opened = "rawsocket_connections_opened_total"
    return after.total(opened) - before.total(opened) - scrapes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gthread", "sync", "werkzeug"])
def test_one_process(counted, name):
    """Each of our servers counts the same."""
    with counted(name) as server:
        before = is_settled(server)
        for _ in range(5):
            with server.connect() as client:
                assert client.request("/", "Connection: close").status == 200
                client.rest()
        for _ in range(3):
            server.raw().close()
        with server.connect() as client:
            client.send(b"\x00garbage\r\n\r\n")
            client.rest()
        with server.hand_over("/echo") as client:
            client.sock.shutdown(socket.SHUT_WR)
            assert client.rest() == b"BYE\n"

        def has_all():
            after = scrape(server)
            closed = "rawsocket_connections_closed_total"
            scrapes = after["rawsocket_requests_total"] - before["rawsocket_requests_total"] - 6
            return after if after.total(closed) - before.total(closed) - scrapes >= 10 else None

        after = wait_for(has_all, "the counts")
        scrapes = after["rawsocket_requests_total"] - before["rawsocket_requests_total"] - 6
        found = {
            reason: count - before.reasons().get(reason, 0)
            for reason, count in after.reasons().items()
        }
        found["response_complete"] -= scrapes
        assert found == {
            "response_complete": 5,
            "peer_closed": 3 + 1,
            "bad_request": 1,
        }
        assert after["rawsocket_connections_hijacked_total"] == 1
        assert after["rawsocket_connections", "active"] == 1  # the scrape's own
        assert after.total("rawsocket_connections") == 1
        assert after["rawsocket_threads_busy"] >= 1
        assert (after["rawsocket_threads"] >= 1) == (name != "werkzeug")
        counted_requests = after["rawsocket_request_queue_seconds_count"]
        assert counted_requests == after["rawsocket_requests_total"]
        ended = after.total("rawsocket_connections_closed_total")
        assert after["rawsocket_connection_duration_seconds_count"] == ended
        assert after["rawsocket_connection_requests_count"] == ended
        assert after["rawsocket_connection_requests_sum"] == after["rawsocket_requests_total"] - 1
        assert 0 < after["rawsocket_connection_rtt_seconds_count"] <= ended
        # A request's own head is complete when it is scraped.
        assert after["rawsocket_request_head_seconds_count"] == after["rawsocket_requests_total"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gthread", "sync", "werkzeug"])
def test_handshakes(counted, name):
    """TLS handshakes that succeed are counted, and those that fail are not."""
    with counted(name, "tls") as server:
        before = is_settled(server)
        with server.raw() as sock:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        after = is_settled(server)
        counts = "rawsocket_tls_handshake_duration_seconds_count"
        requests = after["rawsocket_requests_total"] - before["rawsocket_requests_total"]
        assert after[counts] - before[counts] == requests
        assert after["rawsocket_tls_handshake_duration_seconds_sum"] > 0


@pytest.mark.slow
def test_unix(counted):
    """UNIX connections are counted by themselves, and have no time in the queue."""
    with counted("gthread", "unix") as server:
        counts = is_settled(server)
        opened = "rawsocket_connections_opened_total"
        assert counts[opened, "unix"] == counts["rawsocket_requests_total"]
        assert counts[opened, "tcp"] == counts["rawsocket_request_queue_seconds_count"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gthread", "sync"])
def test_the_queue(counted, name):
    """A request that has come while all threads are busy has waited from then on."""
    options = [] if name == "sync" else ["--threads", "1"]
    with counted(name, "tcp", *options) as server:
        before = is_settled(server)
        server.mark()
        with server.connect() as first, server.connect() as second:
            first.get("/slow?seconds=1", "Connection: close")
            wait_for(lambda: "NA" in server.sequences(), "the first one's view")
            second.get("/", "Connection: close")
            assert (first.response().status, second.response().status) == (200, 200)
        after = is_settled(server)
        buckets = "rawsocket_request_queue_seconds_bucket"
        waited = after[buckets, "+Inf"] - after[buckets, "0.5"]
        assert waited - (before[buckets, "+Inf"] - before[buckets, "0.5"]) == 1
        assert 0.5 < after["rawsocket_request_queue_seconds_sum"] < 20


def gauge(folder, name):
    """Return a gauge's sum from the workers' files: no thread is free to be asked for it."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(folder))
    return Counts(generate_latest(registry).decode())[name]


@pytest.mark.slow
def test_requests_that_wait(counted, tmp_path):
    """Those that have come while all threads are busy are counted until they are served."""
    with counted("gthread", "tcp", "--threads", "1") as server:

        def waiting():
            return gauge(tmp_path / "prometheus", "rawsocket_requests_waiting")

        is_settled(server)
        server.mark()
        assert waiting() == 0
        with server.connect() as busy, server.connect() as one, server.connect() as other:
            busy.get("/until-gone")
            wait_for(lambda: "NA" in server.sequences(), "the busy one's view")
            for each in one, other:
                each.get("/", "Connection: close")
            wait_for(lambda: waiting() == 2, "both to be counted")
            busy.close()
            assert [each.response().status for each in (one, other)] == [200, 200]
        wait_for(lambda: waiting() == 0, "none to be counted")


def pids(server):
    """Return the workers' process ids."""
    children = f"/proc/{server.process.pid}/task/{server.process.pid}/children"
    with open(children) as file:
        return {int(each) for each in file.read().split()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gthread", "sync"])
def test_many_workers(counted, name):
    """The counts of four workers add up, while one is killed and others are recycled."""
    options = "-w", str(WORKERS), "--max-requests", "25", "--preload"
    with counted(name, "tcp", *options) as server:
        before = is_settled(server)
        done = 0
        for number in range(120):
            with contextlib.suppress(OSError, EOFError), server.connect() as client:
                client.get("/", "Connection: close")
                done += client.response().status == 200
                client.rest()
            if number == 60:
                with server.hand_over("/echo-thread") as kept:
                    (pid,) = wait_for(lambda: owners(server, kept), "its owner")
                    os.kill(pid, signal.SIGKILL)
                    assert kept.at_eof()
        assert done == 120
        after = is_settled(server)
        requests = after["rawsocket_requests_total"] - before["rawsocket_requests_total"]
        opened = differences(before, after, requests - done - 1)
        assert opened == done + 1
        assert after["rawsocket_connections_hijacked_total"] == 1
        assert after["rawsocket_connections_closed_total", "process_died"] == 1
        opened = after["rawsocket_connections_opened_total", "tcp"]
        assert opened - after.total("rawsocket_connections_closed_total") == 1  # the scrape's
        assert after["rawsocket_threads"] <= 4 * WORKERS


def owners(server, client):
    """Return the worker that has the other end of `client`, which has been hijacked."""
    port = client.sock.getsockname()[1]
    found = []
    for pid in pids(server):
        with contextlib.suppress(OSError):
            inodes = {
                os.readlink(f"/proc/{pid}/fd/{each}") for each in os.listdir(f"/proc/{pid}/fd")
            }
            with open(f"/proc/{pid}/net/tcp") as file:
                rows = [line.split() for line in file.read().splitlines()[1:]]
            mine = [row[9] for row in rows if row[2].endswith(f":{port:04X}")]
            found += [pid] * any(f"socket:[{inode}]" in inodes for inode in mine)
    return found


@pytest.fixture
def exporter():
    """Counts in a registry of the test's own."""
    made = metrics.prometheus(RawSocket(), CollectorRegistry())
    yield made
    made.stop()


def test_the_table(exporter):
    """Each row is there under its name, with its kind, its label and all values of that."""
    data, media_type = exporter.text()
    assert media_type.startswith("text/plain")
    counts = Counts(data.decode())
    names = {each for each in counts.families if not each.endswith("_created")}
    assert names == {each.prometheus_name for each in TABLE}
    for each in TABLE:
        family = counts.families[each.prometheus_name]
        assert (family.type, family.documentation) == (each.kind.value, each.text)
        suffix = "_total" if each.kind is Kind.COUNTER else ""
        for value in each.values:
            assert (each.prometheus_name + suffix, value) in counts.samples
    reasons = {each.value for each in CloseReason if not each.is_group}
    closed = counts.families["rawsocket_connections_closed"].samples
    assert {each.labels["reason"] for each in closed if each.name.endswith("_total")} == (
        reasons | {"process_died"}
    )


def test_the_docstring():
    """The table of the module is that of the code."""
    for each in TABLE:
        suffix = "_total" if each.kind is Kind.COUNTER else ""
        (line,) = (
            line
            for line in metrics.__doc__.splitlines()
            if f"``{each.prometheus_name}{suffix}``" in line
        )
        assert each.kind.value in line
        assert each.label in line


def test_openmetrics(exporter):
    """The format is that which the scraper accepts."""
    _, media_type = exporter.text("application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")


def test_promtool(exporter):
    """Prometheus's own linter finds nothing."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, which is in Debian's package prometheus")
    data, _ = exporter.text()
    done = subprocess.run(
        [promtool, "check", "metrics"], input=data, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    wrong = data.replace(b"rawsocket_threads_busy", b"rawsocket_threads_total")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=wrong, capture_output=True, check=False
    )
    assert b"rawsocket_threads_total" in done.stderr + done.stdout


def test_names(exporter):
    """The names and texts keep Prometheus's rules, also where its linter is not."""
    data, _ = exporter.text()
    for each in Counts(data.decode()).families.values():
        assert each.documentation.endswith(".")
        assert each.name == each.name.lower()
        assert not each.name.endswith(("_count", "_sum", "_bucket", "_total"))


def expressions(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def test_the_dashboard():
    """The panels of the Grafana dashboard, and the alerts of the page, ask for what there is."""
    names = set()
    for each in TABLE:
        ends = {Kind.COUNTER: ("_total",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
        names |= {each.prometheus_name + end for end in ends.get(each.kind, ("",))}
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    asked = " ".join(expressions(dashboard))
    found = set(re.findall(r"rawsocket_\w+", asked))
    assert found <= names
    used = {each.prometheus_name for each in TABLE if any(each.prometheus_name in x for x in found)}
    assert used == {each.prometheus_name for each in TABLE}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    page = (DOCS / "monitoring.md").read_text()
    names |= {each.prometheus_name for each in TABLE}
    assert set(re.findall(r"rawsocket_\w+", page)) <= names
    reasons = {each.value for each in CloseReason if not each.is_group} | {"process_died"}
    for text in re.findall(r'reason=~?"([^"]*)"', page + asked.replace("\\", "")):
        assert set(text.split("|")) <= reasons


def test_twice(exporter):
    """One registry has the metrics once."""
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.prometheus(RawSocket(), exporter.registry)


def test_without_prometheus_client():
    """Where it is not installed, one sentence says how to install it."""
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from flask_rawsocket import RawSocket, metrics\n"
        "try: metrics.prometheus(RawSocket())\n"
        "except ImportError as exc: print(exc)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert 'pip install "Flask-RawSocket[prometheus]"' in done.stdout
    assert util.find_spec("prometheus_client")
