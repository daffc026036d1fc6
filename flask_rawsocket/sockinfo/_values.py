"""Small frozen values about a socket and its peer; makes no system call."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

__all__ = ["PeerCredentials", "Queues"]


@dataclass(frozen=True, slots=True)
class Queues:
    """How many bytes are in the socket's queues.

    Over TLS these are bytes of ciphertext, and data that OpenSSL has already decrypted is in
    neither queue (``SSLSocket.pending()`` tells how much that is). None is what the system does not
    report. After a reset Linux still reports `send` and `unsent`: this data was thrown away.
    """

    receive: int
    """Bytes that have arrived and that we have not read yet; ``ss`` calls them Recv-Q."""
    send: int | None
    """Bytes that we have written and the peer has not acknowledged; ``ss`` calls them Send-Q. None
    for a UNIX socket, where the kernel reports the memory in use (4608 for 2000 bytes)."""
    unsent: int | None
    """The part of `send` that has not left this machine yet. Linux only; None for UNIX sockets."""


@dataclass(frozen=True, slots=True)
class PeerCredentials:
    """Which process is at the other end of a UNIX socket.

    The ids are the effective ones at the time of its ``connect()`` (or ``listen()``, if the peer is
    the server). They stay the same if the peer then drops its privileges or passes the descriptor
    to another process.
    """

    pid: int | None
    """The process id. None if it is unknown: the peer is outside of our PID namespace, or the
    system does not report it. The number may have been reused since then: see `peer_pidfd`."""
    uid: int | None
    """The effective user id; None on Windows, which has none."""
    gid: int | None
    """The effective group id; None on Windows."""
    groups: tuple[int, ...] | None
    """The supplementary group ids; None if the system does not report them (Linux before 4.13)."""

    @property
    def user(self) -> str | None:
        """The name of `uid`, looked up at each access; None if it has no name here."""
        return None if self.uid is None else _user_name(self.uid)

    @property
    def group(self) -> str | None:
        """The name of `gid`, looked up at each access; None if it has no name here."""
        return None if self.gid is None else _group_name(self.gid)

    @property
    def group_names(self) -> frozenset[str]:
        """The names of `gid` and `groups` that have one, looked up at each access."""
        ids = {each for each in (self.gid, *(self.groups or ())) if each is not None}
        return frozenset(name for each in ids if (name := _group_name(each)) is not None)


def _user_name(uid: int) -> str | None:
    """Return the name of a user id; None if it has none."""
    try:
        name: str = import_module("pwd").getpwuid(uid).pw_name
    except (ImportError, KeyError, OverflowError):  # Windows; an unknown user; not a user id at all
        return None
    return name


def _group_name(gid: int) -> str | None:
    """Return the name of a group id; None if it has none."""
    try:
        name: str = import_module("grp").getgrgid(gid).gr_name
    except (ImportError, KeyError, OverflowError):
        return None
    return name
