"""What a new user does with the docs alone, in an environment that has only what is installed.

The applications and the configurations are the blocks of the pages; a test adds clients, and
nothing that the library should have given.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from servers import Client, bound, wait_for
from users import NOBODY, ask_as, reachable, root_only

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```python\n(?:# ([\w.]+\.py)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def blocks(page):
    """Give the names and texts of a page's Python blocks; the first without one is ``app.py``."""
    found = BLOCK.findall((ROOT / "docs" / page).read_text())
    assert found
    return [(name or "app.py", text) for name, text in found]


def pip(python, *arguments):
    """Run pip; skip the test where it cannot have what it needs, as without a network."""
    command = [python, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=150, check=False, cwd=ROOT
    )
    if done.returncode:
        pytest.skip(f"pip {arguments[0]} fails here: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(folder), ".")
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory, wheel):
    """The Python of an environment with Flask-RawSocket and pytest."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    found = str(folder / "bin" / "python")
    pip(found, "install", f"{wheel}[websocket]", "pytest")
    return found


@pytest.fixture(scope="module")
def python_with_gunicorn(python, wheel):
    """The same one, after the extras of the other pages have been installed."""
    pip(python, "install", f"{wheel}[gunicorn,prometheus]")
    return python


def test_a_users_own_tests(python, tmp_path):
    """All tests of "Testing" pass, and the one that stops with its client takes four lines."""
    page = blocks("testing.md")
    for name, text in page:
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [python, "-W", "error", "-m", "pytest", "-q", "-W", "error"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    written = sum(text.count("\ndef test_") + text.startswith("def test_") for _, text in page)
    assert written >= 8
    assert f"{written} passed" in done.stdout, done.stdout + done.stderr
    lines = (tmp_path / "test_leaving.py").read_text().split("\n\n\n")[0].strip().splitlines()
    assert len(lines) == 4


@contextlib.contextmanager
def gunicorn(python, folder, *options, pass_fds=()):
    """Run gunicorn as the pages do, in `folder`; give its log."""
    log = folder / "log"
    command = [python, "-m", "gunicorn", "-k", "flask_rawsocket.Worker", "--no-control-socket"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options, "app:app"],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
        )
    try:
        yield log
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def ask(address, path):
    with Client.to(address) as client:
        answer = client.request(path, "Connection: close")
        client.rest()
    return answer


@root_only
def test_root_or_a_group(python_with_gunicorn, tmp_path):
    """``root or group adm`` on a daemon's socket: one line of the page's own."""
    reachable(tmp_path)
    source = blocks("unix-daemon.md")[0][1]
    assert source.count("require_peer") == 1
    (tmp_path / "app.py").write_text(source)
    adm = int(subprocess.check_output(["getent", "group", "adm"], text=True).split(":")[2])
    address = str(tmp_path / "s")
    with gunicorn(python_with_gunicorn, tmp_path, "-b", f"unix:{address}") as log:
        wait_for(lambda: "Booting worker" in log.read_text(), "a worker")
        assert os.stat(address).st_mode & 0o777 == 0o777, "gunicorn's default, as the page says"
        reload = {"request": "POST /reload"}
        assert ask_as(address, 0, **reload) == "200"
        assert ask_as(address, NOBODY, groups=[adm], **reload) == "200"
        assert ask_as(address, NOBODY, gid=adm, **reload) == "200"
        assert ask_as(address, NOBODY, **reload) == "403"
        assert ask_as(address, NOBODY, request="GET /status") == "200"
    refused = re.findall(r"require_peer: 'reload' has refused uid (\d+)", log.read_text())
    assert refused == [str(NOBODY)]


def test_counts_of_four_workers(python_with_gunicorn, tmp_path):
    """Prometheus adds up what four workers have done: the page's four lines, and its setting."""
    page = dict(blocks("monitoring.md")[:2])
    assert set(page) == {"app.py", "gunicorn.conf.py"}
    ours = [line for line in page["app.py"].splitlines() if re.search("exporter|metrics", line)]
    assert len(ours) == 4, "an import, the exporter, and the view with its route"
    for name, text in page.items():
        (tmp_path / name).write_text(text)
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(bound("127.0.0.1:0"))
        address, fd = sock.getsockname(), sock.fileno()
        options = "-b", f"fd://{fd}"
        log = stack.enter_context(gunicorn(python_with_gunicorn, tmp_path, *options, pass_fds=[fd]))
        wait_for(lambda: log.read_text().count("Booting worker") == 4, "four workers")
        assert ask(address, "/").status == 200
        with ThreadPoolExecutor(8) as clients:
            found = list(clients.map(lambda _: ask(address, "/").status, range(199)))
        assert found == [200] * 199
        text = wait_for(lambda: is_counted(address), "the ends of all connections")
    counts = samples(text)
    scrapes = counts["rawsocket_requests_total"] - 200
    assert counts["rawsocket_connections_opened_total"] == 200 + scrapes
    assert counts["rawsocket_connections_closed_total"] == 199 + scrapes
    assert counts["rawsocket_threads"] >= 4


def samples(text):
    """Give each sample, or the sum over its labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            found[each.name] = found.get(each.name, 0) + each.value
    return found


def is_counted(address):
    """Scrape; give what it says if no connection is open but the scrape's own."""
    text = ask(address, "/metrics").body.decode()
    return text if samples(text)["rawsocket_connections"] == 1 else None
