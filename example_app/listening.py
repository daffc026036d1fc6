"""The sockets that the demo listens on; what is in the way is named, and what to do about it."""

import contextlib
import errno
import socket
import stat
import textwrap
from pathlib import Path

from flask_rawsocket import sockinfo


class CannotListenError(Exception):
    """Says why, in a sentence."""


def listen(where, *, unix=False):
    """Listen on ``HOST:PORT``, or on a path; return the socket.

    Raises:
        CannotListenError: something is in the way.
    """
    try:
        return listen_unix(Path(where).absolute()) if unix else listen_tcp(where)
    except ValueError:
        raise CannotListenError(f"{where!r} is not a HOST:PORT.") from None
    except OSError as exc:
        raise CannotListenError(f"Cannot listen on {where}: {exc.strerror or exc}.") from exc


def listen_tcp(where):
    host, _, port = where.rpartition(":")
    host, port = host.strip("[]"), int(port)
    if port not in range(65536):
        raise ValueError(port)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            raise
        raise CannotListenError(f"Port {port} of {host} is taken{by(holder(port))}.") from exc


def listen_unix(path):
    """Listen on a path, where a socket that nobody listens on any more is replaced."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.settimeout(1)
        probe.connect(str(path))
        pid = sockinfo.peer_credentials(probe).pid
        raise CannotListenError(f"The socket {path} is taken{by(pid)}.")
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise CannotListenError(f"{path} is there already, and is not a socket.")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def by(pid):
    """Return ``by process 4711 (python -m http.server)`` for a message, as far as it is known."""
    if pid is None:
        return ""
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
        shown = textwrap.shorten(command, 60, placeholder=" ...")
        return f" by process {pid} ({shown})"
    return f" by process {pid}"


def holder(port):
    """Return the process that listens on a TCP port, the first of them; None if it is unknown."""
    listening = {f"socket:[{inode}]" for inode in inodes(port)}
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # another user's, or gone
            if str(link.readlink()) in listening:
                found.append(int(link.parts[2]))
    return min(found, default=None)


def inodes(port):
    """Return the listening sockets of a port (proc(5), ``/proc/net/tcp``)."""
    for name in "tcp", "tcp6":
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                    yield rest[5]
