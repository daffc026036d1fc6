"""Real proxies before our server, configured by what the docs say."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pages import NGINX
from servers import RunningServer, held_port, wait_for

PAGE = (Path(__file__).parent.parent / "docs" / "fronts.md").read_text()


def program(name):
    """Find a program; Debian puts servers where a user's PATH does not look."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")


def needs(name):
    """Skip a test where there is no such proxy."""
    if program(name) is None:
        pytest.skip(f"needs {name}: apt install {name}")


def written(name):
    """Return the block of the page that is the file `name`."""
    return re.search(rf"^```text\n# {re.escape(name)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[
        1
    ]


def nginx(folder, upstream, listen, _more):
    """Return the command that runs nginx as the page has it."""
    page = written("nginx.conf").replace("server 127.0.0.1:8000;", f"server {upstream};")
    page = page.replace("listen 8080;", f"listen {listen};")
    (folder / "app.conf").write_text(f"client_max_body_size 16m;\n{page}")
    path = folder / "nginx.conf"
    path.write_text(NGINX.format(folder=folder))
    # As root it may use our socket, and our folder for long bodies.
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    return [program("nginx"), "-e", "stderr", *user, "-c", str(path)]


def haproxy(folder, upstream, listen, more):
    """Return the command that runs haproxy as the page has it; `more` is for its server."""
    upstream = upstream.removeprefix("unix:")
    page = written("haproxy.cfg").replace("127.0.0.1:8000", f"{upstream} {more}")
    path = folder / "haproxy.cfg"
    path.write_text(page.replace("bind :8080", f"bind {listen}"))
    return [program("haproxy"), "-db", "-f", str(path)]


FRONTS = {"nginx": nginx, "haproxy": haproxy}


@contextlib.contextmanager
def fronted(front, server, folder, more=""):
    """Run the proxy `front` before `server`; give what a client talks to."""
    needs(front)
    folder.mkdir()
    address = server.address
    upstream = f"unix:{address}" if isinstance(address, str) else ":".join(map(str, address))
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(held_port())
        command = FRONTS[front](folder, upstream, f"127.0.0.1:{port}", more)
        output = stack.enter_context((folder / "log").open("ab"))
        process = subprocess.Popen(command, stdout=output, stderr=output)
        log = folder / "log"
        place = RunningServer(front, "tcp", [("127.0.0.1", port)], process, server.record, log)
        try:
            wait_for(lambda: _answers(place), f"{front} to answer")
            yield place
        finally:
            process.terminate()
            process.wait()


def _answers(front):
    assert front.process.poll() is None, front.log.read_text()
    with contextlib.suppress(OSError, EOFError), front.connect() as client:
        return client.request("/who", "Connection: close").status == 200
    return False
