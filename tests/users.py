"""Clients that are other users, which takes root: the user of a UNIX peer cannot be made up."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

NOBODY = 65534

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")

ASK = """
import os, socket, sys
address, request, uid, gid, *groups = sys.argv[1:]
os.setgroups([int(each) for each in groups])
os.setgid(int(gid))
os.setuid(int(uid))
sock = socket.socket(socket.AF_UNIX)
try:
    sock.connect(address)
except PermissionError:
    sys.exit("may not connect")
sock.sendall(f"{request} HTTP/1.0\\r\\n\\r\\n".encode())
print(sock.makefile().readline().split()[1])
"""


def reachable(folder):
    """Let other users reach what is in a test's folder."""
    os.chmod(folder, 0o777)
    top = Path(tempfile.gettempdir())
    for parent in folder.parents:
        if parent.is_relative_to(top) and parent != top:
            os.chmod(parent, 0o755)


def ask_as(address, uid, gid=None, groups=(), request="GET /"):
    """Ask as another user; give the status, or that it may not connect.

    The process becomes that user itself, who may not be able to read our Python.
    """
    ids = [str(each) for each in (uid, uid if gid is None else gid, *groups)]
    # coverage would measure this process too, and that user may not write where it wants to.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, address, request, *ids],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=env,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]
