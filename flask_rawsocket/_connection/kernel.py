"""`KernelFacts`: what a Connection can ask the kernel, and the options it can set.

One rule: nothing is decoded here. Each method passes the live socket to `sockinfo`, which raises
`ConnectionClosedError` for a closed one, and `UnsupportedError` if the system, the address family
or the kernel's version does not support the question. The methods use `_ask`, as a hijack in
another thread may move the descriptor to another socket in the meantime.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from .. import sockinfo
from ..errors import ConnectionClosedError
from ..sockinfo import Options, tcp_info
from .live import LiveSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..sockinfo import BBRInfo, DCTCPInfo, PeerCredentials, Queues, TCPInfo, TLSInfo, VegasInfo

__all__ = ["KernelFacts"]


class KernelFacts(LiveSocket):
    """The kernel's side of a `flask_rawsocket.Connection`."""

    __slots__ = ()

    def tcp_info(self) -> TCPInfo:
        """Ask what the kernel knows of the TCP connection (tcp(7), ``TCP_INFO``).

        Returns:
            A snapshot, whose fields are decoded when they are read; times are in seconds.

        Raises:
            UnsupportedError: this is not a TCP connection.
            ConnectionClosedError: it has been closed.
        """
        sock = self._life.sock
        if sock is not None:
            # The fast path, as this is meant to be called in every request.
            try:
                return tcp_info(sock)
            except ConnectionClosedError:
                pass  # closed, or moved: `_ask` finds out which
        return self._ask(tcp_info)

    @property
    def congestion(self) -> str:
        """The name of the congestion control algorithm, get and set (tcp(7), ``TCP_CONGESTION``).

        Setting one that ``tcp_allowed_congestion_control`` does not list takes a privilege.

        Raises:
            TypeError: the name is not a str.
            ValueError: there is a NUL in it.
            UnsupportedError: this is not a TCP connection, or the kernel does not have the
                algorithm.
            PermissionError: the privilege is missing.
            ConnectionClosedError: the connection has been closed.
        """
        return self._ask(sockinfo.congestion)

    @congestion.setter
    def congestion(self, name: str) -> None:
        self._ask(lambda sock: sockinfo.set_congestion(sock, name))

    def congestion_info(self) -> BBRInfo | VegasInfo | DCTCPInfo | None:
        """Ask what the algorithm reports (``TCP_CC_INFO``); None if it reports nothing."""
        return self._ask(sockinfo.congestion_info)

    def peer_credentials(self) -> PeerCredentials:
        """Ask who is at the other end of a UNIX connection (unix(7), ``SO_PEERCRED``).

        The credentials are those of the process that connected, at the time when it did.

        Raises:
            UnsupportedError: this is not a UNIX connection.
            ConnectionClosedError: it has been closed.
        """
        return self._ask(sockinfo.peer_credentials)

    @contextmanager
    def peer_pidfd(self) -> Iterator[int]:
        """Open a descriptor of the peer's process (``SO_PEERPIDFD``, Linux 6.5), as a context.

        Raises:
            UnsupportedError: this is not a UNIX connection, or the kernel is older.
            ProcessLookupError: the process has exited.
            ConnectionClosedError: the connection has been closed.
        """
        with ExitStack() as stack:
            yield self._ask(lambda sock: stack.enter_context(sockinfo.peer_pidfd(sock)))

    def peer_security_label(self) -> str | None:
        """Ask what a security module calls the peer: ``SO_PEERSEC``, unix(7).

        Like the credentials it is that of the process that connected, at the time when it did.

        Returns:
            SELinux's context, AppArmor's profile with its mode, or Smack's label; None where no
            security module labels this connection, as on most TCP connections.

        Raises:
            UnsupportedError: the system is not Linux.
            ConnectionClosedError: the connection has been closed.
        """
        return self._ask(sockinfo.peer_security_label)

    @property
    def tls(self) -> TLSInfo | None:
        """What was negotiated in the TLS handshake; None for a connection without TLS."""
        return self._ask(sockinfo.tls_info)

    def queues(self) -> Queues:
        """Ask how many bytes wait to be read, to be acknowledged and to be sent.

        After a reset the last two are what was thrown away (Linux).

        Raises:
            ConnectionClosedError: the connection has been closed.
        """
        return self._ask(sockinfo.queues)

    @property
    def options(self) -> Options:
        """The socket's options as typed attributes, get and set."""
        return Options(self._ask)

    def set_dead_peer_timeout(self, seconds: float | None) -> None:
        """Notice a peer that has vanished silently, within about this many seconds.

        Sets keepalive and the user timeout together: the first does not work while data is
        unacknowledged, the second does not work while there is none (tcp(7)).

        **A client that is alive is reset as well** if it reads nothing for this long while data is
        waiting to be sent to it: Linux includes the time that the client's window is closed, even
        though the client's kernel answers every probe (tcp(7), ``TCP_USER_TIMEOUT``). Choose a time
        longer than any pause of a reader: a paused video, a busy consumer.

        Args:
            seconds: how long a peer may be silent. None turns keepalive off and goes back to the
                system's default times and number of probes; on systems other than Linux the times
                and the number of keepalive stay as they were set.

        Raises:
            TypeError: the time is not a number.
            ValueError: the time is not positive, or longer than 24 days.
            UnsupportedError: this is not a TCP connection, or the system has no such timeout.
            ConnectionClosedError: the connection has been closed.
        """
        self._ask(lambda sock: sockinfo.set_dead_peer_timeout(sock, seconds))

    @property
    def cookie(self) -> int:
        """A number that no other socket has until the next boot (``SO_COOKIE``)."""
        return self._ask(sockinfo.cookie)

    def original_destination(self) -> tuple[str, int]:
        """Ask where the client connected to before NAT sent it here (``SO_ORIGINAL_DST``).

        Raises:
            UnsupportedError: this is not an IP connection, or netfilter does not track it, or
                netfilter's connection tracking is not loaded.
            ConnectionClosedError: the connection has been closed.
        """
        return self._ask(sockinfo.original_destination)

    def saved_syn(self) -> bytes | None:
        """Take the headers of the connection's SYN (``TCP_SAVED_SYN``), which are returned once.

        None if the listener did not keep them: see ``RAWSOCKET_SAVE_SYN``.
        """
        return self._ask(sockinfo.saved_syn)
