"""The one place of this package where an ``errno`` becomes a typed error.

Errors are sorted by whose fault they are: our descriptor is gone, the connection broke, this
system or this kind of socket does not have the operation, or a privilege is missing. Anything else
(a bad value, say) stays the ``OSError`` that it was.
"""

from __future__ import annotations

import errno
import os
import socket
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from ..errors import ConnectionBrokenError, ConnectionClosedError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from types import TracebackType

__all__ = [
    "OpenFd",
    "fail",
    "fail_tcp",
    "not_connected",
    "open_fd",
    "require_family",
    "unsupported",
]

_CLOSED = frozenset({errno.EBADF, errno.ENOTSOCK})
"""Our descriptor is gone. ENOTSOCK is what Windows says of a closed socket; elsewhere it means that
the descriptor was closed behind our back and its number now belongs to a file."""

_BROKEN = frozenset(
    getattr(errno, name)
    for name in (
        "ENOTCONN",
        "ECONNRESET",
        "ECONNABORTED",
        "ECONNREFUSED",
        "EPIPE",
        "ESHUTDOWN",
        "ETIMEDOUT",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "ENETDOWN",
        "ENETRESET",
    )
    if hasattr(errno, name)
)
"""The connection is over, whoever ended it. By name, as not every system has every errno."""

_UNSUPPORTED = frozenset(
    {
        errno.EOPNOTSUPP,  # TCP_INFO of a UNIX socket
        errno.ENOTSUP,  # the same number on Linux, not on macOS
        errno.ENOPROTOOPT,  # an option that the kernel is too old for
        errno.ENOTTY,  # an ioctl that the family does not have
        errno.EAFNOSUPPORT,
        errno.EPROTONOSUPPORT,
        errno.ENOSYS,  # a seccomp filter, a sandbox, an emulated kernel
    }
)
"""This kernel, this address family or this protocol does not have the operation."""

_DENIED = frozenset({errno.EPERM, errno.EACCES})

_NOTHING: Mapping[int, str] = MappingProxyType({})


def fail(
    exc: OSError,
    operation: str,
    *,
    also_unsupported: Collection[int] = (),
    because: Mapping[int, str] = _NOTHING,
) -> NoReturn:
    """Raise the error that `exc` means for `operation`, with `exc` as its cause.

    Args:
        exc: what the system call raised.
        operation: the name of the function or option, as the user wrote it.
        also_unsupported: errnos that mean "not on this kind of socket" for this operation.
        because: errnos that mean "unsupported" as well, with a text for each where the system's own
            would mislead ("No such file or directory").

    Raises:
        ConnectionClosedError: our descriptor is closed.
        ConnectionBrokenError: the connection is over.
        UnsupportedError: the platform, the family or the protocol does not have it.
        PermissionError: a privilege is missing.
        OSError: anything else, unchanged.
    """
    reason = exc.strerror or str(exc)
    if exc.errno in _CLOSED:
        raise ConnectionClosedError(f"{operation}: the socket is closed") from exc
    if exc.errno in _BROKEN:
        raise ConnectionBrokenError(f"{operation}: {reason}") from exc
    if why := because.get(exc.errno or 0):
        raise UnsupportedError(f"{operation}: {why}") from exc
    if exc.errno in _UNSUPPORTED or exc.errno in also_unsupported:
        raise UnsupportedError(f"{operation} is not supported on this socket: {reason}") from exc
    if exc.errno in _DENIED:
        raise PermissionError(exc.errno, f"{operation}: {reason}") from exc
    raise exc


def fail_tcp(exc: OSError, sock: socket.socket, operation: str) -> NoReturn:
    """Raise the error that `exc` means for a TCP operation: like `fail`, but name a wrong family.

    The family is checked here, after the call has failed, so that a call that succeeds costs no
    more.

    Raises:
        UnsupportedError: the socket is of another family.
        OSError: anything else, and its subclasses, as `fail` does.
    """
    if exc.errno in _UNSUPPORTED and sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise _wrong_family(sock, operation) from exc
    fail(exc, operation)


def _wrong_family(sock: socket.socket, operation: str) -> UnsupportedError:
    # A family that Python has no name for is a plain number.
    name = getattr(sock.family, "name", str(sock.family))
    return UnsupportedError(f"{operation} is not supported on an {name} socket")


def open_fd(sock: socket.socket, operation: str) -> int:
    """Return the descriptor of a socket that is open.

    Functions that look at anything else before their system call (the family, the TLS object) call
    this first, so that a closed socket is always reported as closed.

    Raises:
        ConnectionClosedError: the socket has been closed or detached.
    """
    fd = sock.fileno()
    if fd < 0:
        raise ConnectionClosedError(f"{operation}: the socket is closed")
    return fd


class OpenFd:
    """A context manager around the descriptor of a socket, for system calls that take the number.

    Another thread may close the socket in the meantime, and the number may be reused: what the
    calls found is then another socket's, so leaving the context raises instead of returning it.
    """

    __slots__ = ("_fd", "_operation", "_sock")

    def __init__(self, sock: socket.socket, operation: str) -> None:
        self._sock = sock
        self._operation = operation

    def __enter__(self) -> int:
        self._fd = open_fd(self._sock, self._operation)
        return self._fd

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sock.fileno() != self._fd:
            raise ConnectionClosedError(f"{self._operation}: the socket is closed") from exc


def require_family(sock: socket.socket, families: Collection[int], operation: str) -> int:
    """Return the descriptor of a socket of one of these families.

    The family is checked because a kernel may not refuse: ``SO_PEERCRED`` of a TCP socket succeeds
    on Linux, with pid 0 and uid 4294967295 (measured on 6.18).

    Raises:
        ConnectionClosedError: the socket has been closed.
        UnsupportedError: the socket is of another family.
    """
    fd = open_fd(sock, operation)
    if sock.family not in families:
        raise _wrong_family(sock, operation)
    return fd


def unsupported(operation: str, system: str) -> UnsupportedError:
    """Return the error that says that `system` does not have the operation."""
    return UnsupportedError(f"{operation} is not supported on {system}")


def not_connected(operation: str) -> NoReturn:
    """Raise the error for a socket without a peer, where the kernel itself did not fail.

    Raises:
        ConnectionBrokenError: always, with an ENOTCONN as its cause.
    """
    fail(OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN)), operation)
