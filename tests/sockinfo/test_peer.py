"""Credentials and pidfd of a UNIX peer, by real processes."""

from __future__ import annotations

import errno
import os
import pwd
import select
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path

import pytest

from flask_rawsocket.errors import ConnectionBrokenError, ConnectionClosedError, UnsupportedError
from flask_rawsocket.sockinfo import (
    PeerCredentials,
    peer_credentials,
    peer_pidfd,
    peer_security_label,
)
from flask_rawsocket.sockinfo._systems.linux_numbers import NUMBERS, numbers_of

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="changing the user id needs root")

CLIENT = """
import os, socket, sys
before, after = sys.argv[2:4]
sock = socket.socket(socket.AF_UNIX)
exec(before)
sock.connect(bytes.fromhex(sys.argv[1]))
exec(after)
print(os.getpid(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def connect(pair):
    """A function that runs code before and after ``connect()`` in another process."""
    with ExitStack() as stack:

        def run(before="", after=""):
            listener = pair.listener("unix")
            listener.settimeout(20)
            command = [sys.executable, "-c", CLIENT, listener.getsockname().hex(), before, after]
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(child)
            stack.callback(child.kill)
            server = stack.enter_context(listener.accept()[0])
            assert int(child.stdout.readline()) == child.pid
            return server, child

        yield run


def leave(child):
    """End a child and wait until it is reaped."""
    child.stdin.close()
    child.wait(20)


def test_another_process(connect):
    """The pid and ids are the client's, and its names are this system's."""
    server, child = connect()
    credentials = peer_credentials(server)
    assert (credentials.pid, credentials.uid) == (child.pid, os.geteuid())
    assert credentials.gid == os.getegid()
    assert credentials.user == pwd.getpwuid(os.geteuid()).pw_name
    assert set(credentials.groups) == set(os.getgroups())
    leave(child)
    assert peer_credentials(server) == credentials


@root_only
def test_changed_before_connect(connect):
    """A client that gives up root before it connects is seen as what it became."""
    server, _ = connect(f"os.setgroups([7, 9]); os.setgid({NOBODY}); os.setuid({NOBODY})")
    credentials = peer_credentials(server)
    assert (credentials.uid, credentials.gid, credentials.groups) == (NOBODY, NOBODY, (7, 9))
    assert credentials.user == "nobody"


@root_only
def test_changed_after_connect(connect):
    """A client that gives up root after it connected is still seen as root."""
    server, _ = connect("", f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})")
    assert peer_credentials(server).uid == 0


@root_only
@pytest.mark.parametrize("count", [0, 1, 32, 33, 100, 256, 257, 3000])
def test_many_groups(connect, count):
    """All groups come back, beyond the usual 32 and beyond the 256 of Python's buffer."""
    server, _ = connect(f"os.setgroups(range(5000, {5000 + count}))")
    assert peer_credentials(server).groups == tuple(range(5000, 5000 + count))


def test_ids_without_a_name():
    """A number that nobody has, or that is not even an id, has no name; nor has None."""
    assert PeerCredentials(1, 3_999_999_999, 3_999_999_999, ()).user is None
    assert PeerCredentials(1, 3_999_999_999, 3_999_999_999, ()).group is None
    assert PeerCredentials(1, 2**40, 2**40, ()).user is None
    assert PeerCredentials(1, None, None, None).user is None
    assert PeerCredentials(1, None, None, None).group is None
    assert PeerCredentials(1, 0, 0, None).group == "root"


def test_no_names_without_the_modules(monkeypatch):
    """On Windows, which has neither ``pwd`` nor ``grp``, there are no names."""
    monkeypatch.setitem(sys.modules, "pwd", None)
    monkeypatch.setitem(sys.modules, "grp", None)
    assert PeerCredentials(1, 0, 0, None).user is None
    assert PeerCredentials(1, 0, 0, None).group is None


@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare of util-linux is not installed")
def test_a_peer_outside_of_our_pid_namespace(pair):
    """A process in a PID namespace does not see the pid of a peer outside: None, not 0."""
    server, _client = pair("unix")
    code = f"""
        import socket
        from flask_rawsocket.sockinfo import peer_credentials
        with socket.socket(fileno={server.fileno()}) as sock:
            print(peer_credentials(sock).pid)
    """
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(
        command, capture_output=True, text=True, pass_fds=[server.fileno()], check=False, timeout=30
    )
    if "unshare failed" in done.stderr:
        pytest.skip("this system does not let us make a PID namespace")
    assert done.stdout == "None\n", done.stderr


@pytest.mark.parametrize("kind", ["tcp4", "tcp6", "mapped"])
def test_tcp_has_no_credentials(pair, kind):
    """A TCP peer is refused by name, though the kernel would answer uid 4294967295."""
    server, _ = pair(kind)
    with pytest.raises(UnsupportedError, match=r"peer_credentials.*AF_INET"):
        peer_credentials(server)
    with pytest.raises(UnsupportedError, match="peer_pidfd"), peer_pidfd(server):
        pass


def test_without_a_peer():
    """A socket that was never connected has no peer to tell of."""
    with socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(ConnectionBrokenError) as caught:
            peer_credentials(sock)
        assert caught.value.__cause__.errno == errno.ENOTCONN
        with pytest.raises(ConnectionBrokenError), peer_pidfd(sock):
            pass


def test_closed(pair):
    """A closed socket says that it is closed, of either family."""
    for kind in ("unix", "tcp4"):
        server, _ = pair(kind)
        server.close()
        with pytest.raises(ConnectionClosedError):
            peer_credentials(server)
        with pytest.raises(ConnectionClosedError), peer_pidfd(server):
            pass


def test_pidfd_polls_the_exit(connect):
    """The pidfd becomes readable when the peer exits, and is closed at the end of the block."""
    server, child = connect()
    try:
        with peer_pidfd(server) as fd:
            assert not os.get_inheritable(fd)
            assert select.select([fd], [], [], 0)[0] == []
            leave(child)
            assert select.select([fd], [], [], 20)[0] == [fd]
    except UnsupportedError:
        pytest.skip("Linux before 6.5 has no SO_PEERPIDFD")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_pidfd_of_a_reaped_peer(connect):
    """Once the peer was reaped there is no process to get hold of, and no descriptor leaks."""
    server, child = connect()
    leave(child)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises((ProcessLookupError, UnsupportedError)), peer_pidfd(server):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EINVAL, ProcessLookupError),
        (errno.ESRCH, ProcessLookupError),
        (errno.ENODATA, ConnectionBrokenError),
        (errno.ENOPROTOOPT, UnsupportedError),
        (errno.EPERM, PermissionError),
    ],
)
def test_pidfd_errors_of_other_kernels(recorded, number, error):
    """Every kernel's way of saying no is mapped."""
    answers = {(socket.SOL_SOCKET, NUMBERS["SO_PEERPIDFD"]): OSError(number, os.strerror(number))}
    with pytest.raises(error), peer_pidfd(recorded(answers, socket.AF_UNIX)):
        pass


def test_pidfd_that_may_not_be_signalled(recorded):
    """Being kept from signalling the process does not mean that it has gone."""
    reading, writing = os.pipe()  # no pidfd: signalling it is EBADF
    os.close(writing)
    answers = {(socket.SOL_SOCKET, NUMBERS["SO_PEERPIDFD"]): reading}
    with peer_pidfd(recorded(answers, socket.AF_UNIX)) as fd:
        assert fd == reading


def test_kernel_without_groups(recorded):
    """Before 4.13 the groups are None; another failure is not swallowed."""
    peercred = (socket.SOL_SOCKET, socket.SO_PEERCRED)
    groups = (socket.SOL_SOCKET, NUMBERS["SO_PEERGROUPS"])
    answers = {peercred: struct.pack("=iII", 5, 6, 7), groups: OSError(errno.ENOPROTOOPT, "no")}
    assert peer_credentials(recorded(answers, socket.AF_UNIX)) == PeerCredentials(5, 6, 7, None)
    answers[groups] = OSError(errno.EPERM, "no")
    with pytest.raises(PermissionError, match="peer_credentials"):
        peer_credentials(recorded(answers, socket.AF_UNIX))
    answers[groups] = OSError(errno.ERANGE, "too long")  # of a TCP socket: the C call fails too
    with pytest.raises(OSError, match="No data available"):
        peer_credentials(recorded(answers, socket.AF_UNIX))
    answers[peercred] = OSError(errno.ENOPROTOOPT, "no")
    with pytest.raises(UnsupportedError):
        peer_credentials(recorded(answers, socket.AF_UNIX))


PEERSEC = socket.SOL_SOCKET, socket.SO_PEERSEC


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        (b"system_u:system_r:httpd_t:s0\0", "system_u:system_r:httpd_t:s0"),  # SELinux
        (b"/usr/sbin/nginx (enforce)", "/usr/sbin/nginx (enforce)"),  # AppArmor
        (b"caf\xc3\xa9 \xff", "caf\u00e9 \udcff"),
        (b"\0", None),
        (OSError(errno.ENOPROTOOPT, "no security module"), None),
    ],
)
def test_security_label(recorded, answer, label):
    """What a security module says, without the NUL that some of them end it with."""
    assert peer_security_label(recorded({PEERSEC: answer}, socket.AF_UNIX)) == label


def test_security_label_errors(recorded, pair):
    """A failure is not taken for the absence of a label; a longer label is asked for again."""
    with pytest.raises(PermissionError, match="peer_security_label"):
        peer_security_label(recorded({PEERSEC: OSError(errno.EACCES, "no")}, socket.AF_UNIX))
    answers = {PEERSEC: OSError(errno.ERANGE, "too long")}  # the C call then fails as well
    with pytest.raises(UnsupportedError, match="peer_security_label"):
        peer_security_label(recorded(answers))
    _client, server = pair("unix")
    assert isinstance(peer_security_label(server), str | None)  # as this machine has it
    server.close()
    with pytest.raises(ConnectionClosedError):
        peer_security_label(server)


@pytest.mark.parametrize(
    ("machine", "cookie"), [("x86_64", 57), ("mips64", 57), ("sparc64", 59), ("parisc", 0x4032)]
)
def test_numbers_differ_by_architecture(machine, cookie):
    """Sparc and parisc have numbers of their own, for the same options."""
    assert numbers_of(machine)["SO_COOKIE"] == cookie
    assert numbers_of(machine).keys() == numbers_of("x86_64").keys()
