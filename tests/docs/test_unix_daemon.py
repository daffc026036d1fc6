"""The page "A daemon on a UNIX socket": systemd's units, with a socket as systemd hands it over."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest
from servers import Client
from users import NOBODY, ask_as, reachable

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "unix-daemon.md").read_text()
UNIT = re.compile(
    r"^```text\n# /etc/systemd/system/app\.(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
APP = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What systemd does before it starts a service (sd_listen_fds(3))."""


def units():
    """Give the units of the page, by their types."""
    found = {}
    for kind, text in UNIT.findall(PAGE):
        found[kind] = RawConfigParser()
        found[kind].optionxform = str
        found[kind].read_string(text)
    return found


@pytest.fixture
def made_socket(tmp_path):
    """The socket of the unit, made as systemd makes it: in a folder of the test's, by its mode."""
    reachable(tmp_path)
    unit = units()["socket"]["Socket"]
    path = tmp_path / Path(unit["ListenStream"]).name
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        os.chmod(path, int(unit["SocketMode"], 8))
        if os.geteuid() == 0:
            adm = subprocess.check_output(["getent", "group", unit["SocketGroup"]], text=True)
            os.chown(path, 0, int(adm.split(":")[2]))
        sock.listen()
        yield sock


@contextlib.contextmanager
def activated(sock, folder):
    """Start the unit's service as systemd does; it has said that it is ready."""
    (folder / "app.py").write_text(APP.search(PAGE)[1])
    service = units()["service"]["Service"]
    program, *options = shlex.split(service["ExecStart"])
    assert Path(program).name == "gunicorn"
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", *options]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        name = folder / "notify"
        name.unlink(missing_ok=True)
        notified.bind(str(name))
        notified.settimeout(20)
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(sock.fileno()), *command],
                cwd=folder,
                env=os.environ | {"NOTIFY_SOCKET": str(name)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[sock.fileno()],
            )
        try:
            assert service["Type"] == "notify"
            assert b"READY=1" in notified.recv(4096)
            yield process
            process.terminate()
            assert process.wait(20) == 0, (folder / "log").read_text()
        finally:
            process.kill()
            process.wait()


def test_activation(made_socket, tmp_path):
    """The service serves the socket that it is given, and leaves it and its file as they were."""
    address = made_socket.getsockname()
    before = os.stat(address)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Client.to(address))  # it is there before the service is
        first.get("/status", "Connection: close")
        with activated(made_socket, tmp_path):
            assert first.response().body == f"running, and you are uid:{os.geteuid()}\n".encode()
            if os.geteuid() == 0:
                adm = before.st_gid
                reload = {"request": "POST /reload"}
                assert ask_as(address, 0, **reload) == "200"
                assert ask_as(address, NOBODY, groups=[adm], **reload) == "200"
                assert ask_as(address, NOBODY, **reload) == "may not connect"
        after = os.stat(address)
        assert (after.st_ino, after.st_mode, after.st_gid) == (
            before.st_ino,
            before.st_mode,
            before.st_gid,
        )
        second = stack.enter_context(Client.to(address))  # nobody serves it: systemd keeps it
        second.get("/status", "Connection: close")
        with activated(made_socket, tmp_path):
            assert second.response().status == 200


@pytest.mark.parametrize(
    ("how", "mode"), [("gunicorn", 0o777), ("gunicorn --umask 007", 0o770), ("flask", 0o755)]
)
def test_the_mode(run_server, how, mode):
    """The socket's mode is what the page's table says."""
    program, *options = how.split()
    umask = os.umask(0o022)
    try:
        name = "gthread" if program == "gunicorn" else "werkzeug"
        with run_server(name, "unix", *options, app="bare:app") as server:
            found = os.stat(server.address).st_mode & 0o777
    finally:
        os.umask(umask)
    assert found == mode
    said = {0o777: "0777", 0o770: "makes it 0770", 0o755: "0755 for 022"}
    assert said[mode] in PAGE


def test_the_units():
    """They name what systemd knows, and each other."""
    found = units()
    assert set(found) == {"socket", "service"}
    assert found["service"]["Unit"]["Requires"] == "app.socket"
    assert "-b" not in found["service"]["Service"]["ExecStart"].split()
    assert found["service"]["Service"]["KillMode"] == "mixed"
