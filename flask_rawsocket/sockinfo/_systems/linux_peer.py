"""Which process is at the other end of a UNIX socket, on Linux."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import sys
from contextlib import contextmanager
from struct import Struct
from typing import TYPE_CHECKING

from .._errno import OpenFd, fail, not_connected, require_family
from .._values import PeerCredentials
from .linux_numbers import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator

assert not TYPE_CHECKING or sys.platform == "linux"  # noqa: S101  for mypy

__all__ = ["peer_credentials", "peer_pidfd", "peer_security_label"]

_SOL = socket.SOL_SOCKET
_UCRED = Struct("=iII")
_NO_ID = 2**32 - 1

_PYTHON_MAX = 1024
"""Room for 256 groups: the largest buffer that CPython's ``getsockopt`` takes."""


def peer_credentials(sock: socket.socket) -> PeerCredentials:
    """Return which process is at the other end of a UNIX socket, as of its ``connect()``.

    It still works after the peer has gone. For a listening socket it returns our own credentials.

    Raises:
        UnsupportedError: the socket is not a UNIX socket, so its peer has no credentials.
        ConnectionBrokenError: the socket was never connected.
        ConnectionClosedError: the socket has been closed.
    """
    require_family(sock, (socket.AF_UNIX,), "peer_credentials")
    try:
        raw = sock.getsockopt(_SOL, socket.SO_PEERCRED, _UCRED.size)
    except OSError as exc:
        fail(exc, "peer_credentials")
    pid, uid, gid = _UCRED.unpack(raw)
    if uid == _NO_ID:  # there is no peer, but the kernel does not fail
        not_connected("peer_credentials")
    # The pid is 0 if the peer is outside of our PID namespace.
    return PeerCredentials(pid or None, uid, gid, _peer_groups(sock))


@contextmanager
def peer_pidfd(sock: socket.socket) -> Iterator[int]:
    """Yield a pidfd of the process at the other end of a UNIX socket (``SO_PEERPIDFD``).

    Unlike a pid it never comes to mean another process: poll it for the peer's exit, or signal it
    with ``signal.pidfd_send_signal``. It is closed at the end of the block; ``os.dup`` it to keep
    it.

    Raises:
        UnsupportedError: the socket is not a UNIX socket, or Linux is older than 6.5.
        ProcessLookupError: the peer has exited and was reaped.
        ConnectionBrokenError: the socket was never connected.
        ConnectionClosedError: the socket has been closed.
    """
    require_family(sock, (socket.AF_UNIX,), "peer_pidfd")
    try:
        fd = sock.getsockopt(_SOL, NUMBERS["SO_PEERPIDFD"])
    except OSError as exc:
        # EINVAL: the peer was reaped (6.5 to 6.15); ESRCH: likewise (elsewhere); ENODATA: no peer.
        if exc.errno in (errno.EINVAL, errno.ESRCH):
            raise ProcessLookupError(errno.ESRCH, "peer_pidfd: the peer has exited") from exc
        if exc.errno == errno.ENODATA:
            not_connected("peer_pidfd")
        fail(exc, "peer_pidfd")
    try:
        _require_process(fd)
        yield fd
    finally:
        os.close(fd)


def peer_security_label(sock: socket.socket) -> str | None:
    """Return what a security module calls the peer (``SO_PEERSEC``, unix(7)).

    Returns:
        SELinux's context, AppArmor's profile with its mode, or Smack's label, as of the peer's
        ``connect()``; None where no security module labels this connection.

    Raises:
        ConnectionClosedError: the socket has been closed.
    """
    raw = _answer(sock, socket.SO_PEERSEC, "peer_security_label")
    # SELinux's ends in a NUL, AppArmor's does not.
    return None if raw is None else os.fsdecode(raw.rstrip(b"\0")) or None


def _require_process(fd: int) -> None:
    """Raise ``ProcessLookupError`` if the process of a pidfd has exited.

    Linux 6.16 and later return a pidfd even of a peer that was reaped, where 6.5 refused.
    """
    try:
        signal.pidfd_send_signal(fd, 0)
    except ProcessLookupError as exc:
        raise ProcessLookupError(exc.errno, "peer_pidfd: the peer has exited") from exc
    except OSError:
        # EPERM: another user's process, EINVAL: another namespace's, ENOSYS: a sandbox. We may not
        # signal it, but it exists.
        return


def _peer_groups(sock: socket.socket) -> tuple[int, ...] | None:
    """Return the supplementary groups of the peer; None if the kernel is older than 4.13."""
    raw = _answer(sock, NUMBERS["SO_PEERGROUPS"], "peer_credentials")
    return None if raw is None else tuple(group for (group,) in Struct("=I").iter_unpack(raw))


def _answer(sock: socket.socket, option: int, operation: str) -> bytes | None:
    """Return an answer of any length; None if there is no such option, or nothing to answer."""
    try:
        return sock.getsockopt(_SOL, option, _PYTHON_MAX)
    except OSError as exc:
        if exc.errno == errno.ENOPROTOOPT:
            return None
        if exc.errno != errno.ERANGE:
            fail(exc, operation)
        with OpenFd(sock, operation) as fd:
            return _long_answer(fd, option, operation)


def _long_answer(fd: int, option: int, operation: str) -> bytes:
    """Return an answer that is too long for CPython's ``getsockopt``, by calling the C library.

    It may have 65536 groups (NGROUPS_MAX); with ERANGE the kernel returns the length it needs.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    length = ctypes.c_uint32(0)
    libc.getsockopt(fd, _SOL, option, None, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(length.value)
    if libc.getsockopt(fd, _SOL, option, buffer, ctypes.byref(length)) != 0:
        number = ctypes.get_errno()
        fail(OSError(number, os.strerror(number)), operation)
    return buffer.raw[: length.value]
