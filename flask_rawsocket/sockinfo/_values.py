"""Small frozen values about a socket and its peer; knows no system call."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

__all__ = ["PeerCredentials", "Queues"]


@dataclass(frozen=True, slots=True)
class Queues:
    """How much lies in the socket's queues, in bytes.

    Over TLS these are bytes of ciphertext, and what OpenSSL has already decrypted is in neither
    (``SSLSocket.pending()`` knows it). None stands for what the system does not tell. After a reset
    Linux goes on telling `send` and `unsent`: that is what was thrown away.
    """

    receive: int
    """Arrived and not read by us yet; ``ss`` calls it Recv-Q."""
    send: int | None
    """Written by us and not acknowledged by the peer; ``ss`` calls it Send-Q. None for a UNIX
    socket: there the kernel answers with the memory in use (4608 for 2000 bytes)."""
    unsent: int | None
    """The part of `send` that has not even left this machine. Linux; None for UNIX sockets."""


@dataclass(frozen=True, slots=True)
class PeerCredentials:
    """Which process is at the other end of a UNIX socket.

    They are the effective ids at the moment of its ``connect()`` (or ``listen()``, seen from the
    client): a peer that has dropped its privileges since, or that gave the descriptor to another
    process, still shows what it was then.
    """

    pid: int | None
    """The process id. None where it is unknown: the peer lives outside of our PID namespace, or
    the system does not tell. The number may have been reused since: see `peer_pidfd`."""
    uid: int | None
    """The effective user id; None on Windows, which has none."""
    gid: int | None
    """The effective group id; None on Windows."""
    groups: tuple[int, ...] | None
    """The supplementary group ids; None where the system does not tell (Linux before 4.13)."""

    @property
    def user(self) -> str | None:
        """The name of `uid`, looked up now; None if it has no name here."""
        return None if self.uid is None else _user_name(self.uid)

    @property
    def group(self) -> str | None:
        """The name of `gid`, looked up now; None if it has no name here."""
        return None if self.gid is None else _group_name(self.gid)


def _user_name(uid: int) -> str | None:
    """Return the name of a user id; None without one."""
    try:
        name: str = import_module("pwd").getpwuid(uid).pw_name
    except (ImportError, KeyError, OverflowError):  # Windows; no such user; not a user id at all
        return None
    return name


def _group_name(gid: int) -> str | None:
    """Return the name of a group id; None without one."""
    try:
        name: str = import_module("grp").getgrgid(gid).gr_name
    except (ImportError, KeyError, OverflowError):
        return None
    return name
