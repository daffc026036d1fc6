"""Where a PROXY protocol header comes first: who may send one, and who reads it.

The tracked socket's first read does, with the request behind it. Where TLS begins behind it,
`take_proxy_header` reads no byte beyond it: OpenSSL is to find its own first byte on the socket.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from typing import TYPE_CHECKING, Any, Final

from .._connection import ending
from .._connection.state import CloseReason
from .deadlines import READ, Deadlines
from .proxy_protocol import ProxyHeaderError, ProxyParser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._connection.address import SocketAddress
    from .._connection.connection import Connection
    from .._connection.life import Life
    from .._connection.proxy_header import ProxyHeader
    from .._tracking.tracker import ConnectionTracker

__all__ = [
    "ProxiedDeadlines",
    "allow_list",
    "by_settings",
    "expecting",
    "fill",
    "put_addresses",
    "take_proxy_header",
]

_PEEK: Final = 4096
_DONT_WAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)


class ProxiedDeadlines(Deadlines):
    """Deadlines of a connection that may begin with a PROXY protocol header."""

    __slots__ = ("head_due", "proxy_parser")

    head_due: bool
    """Whether the next byte begins a request."""

    proxy_parser: ProxyParser | None
    """What reads a header, while one may come; None once it is known whether there is one."""

    if TYPE_CHECKING:
        connection: Connection | None
        life: Life

        def start_clock(self) -> None:
            """A head is due within the time that the application allows."""

        def first_bytes(self, data: bytes) -> bytes:
            """Return what is of a request, which begins then."""

    @property
    def in_proxy_header(self) -> bool:
        """Whether a header, or what may be one, has begun and not ended."""
        return self.proxy_parser is not None and self.proxy_parser.has_begun

    def first_behind_header(self, parser: ProxyParser, data: bytes) -> bytes:
        """Return what of `data`, the first that has come, is behind the header."""
        data = self.read_header(parser, data)
        if parser.before_preface:
            self.head_due = not data  # it is not of a request: frames of HTTP/2
            return data
        return self.first_bytes(data) if data else data

    def read_header(self, parser: ProxyParser, data: bytes) -> bytes:
        """Take `data` for a header; return what is not the header's.

        A header is due in the same time as a request's head. It is not a part of a request: what it
        says is known before the connection is ACTIVE.

        Raises:
            ProxyHeaderError: it is malformed, or the peer may not send any.
        """
        try:
            rest = parser.feed(data)
        except ProxyHeaderError:
            self.proxy_parser = None
            self.head_due = False
            ending.note(self.life, CloseReason.BAD_PROXY_HEADER)
            raise
        if rest is None:
            if self.read is None:
                self.start_clock()
            return b""
        self.proxy_parser = None
        if self.connection is not None:
            self.connection.proxy = parser.header
        return rest

    def room(self, size: int) -> int:
        """Return how much to read next where `size` bytes were asked for, but for what is held."""
        parser = self.proxy_parser
        return size if parser is None else max(1, size - parser.held)


def expecting(
    mode: str, is_trusted: Callable[[SocketAddress], bool]
) -> Callable[[SocketAddress], ProxyParser]:
    """Return what makes the parser of a new connection, by the address of its peer.

    Args:
        mode: which versions are read: a key of `proxy_protocol.MODES`.
        is_trusted: whether the peer of an address may send a header.
    """

    def parser_for(address: SocketAddress) -> ProxyParser:
        return ProxyParser(mode, is_trusted=is_trusted(address))

    return parser_for


def by_settings(tracker: ConnectionTracker) -> Callable[[SocketAddress], ProxyParser | None]:
    """Return what makes the parser of a new connection where no server has settings of its own.

    Args:
        tracker: whose settings hold; an application may be set up after its server.
    """

    def parser_for(address: SocketAddress) -> ProxyParser | None:
        settings = tracker.settings
        if settings.proxy_protocol == "off":
            return None
        is_trusted = _kept_allow_list(tuple(settings.proxy_allow_ips))(address)
        return ProxyParser(settings.proxy_protocol, is_trusted=is_trusted)

    return parser_for


def allow_list(allowed: Iterable[str]) -> Callable[[SocketAddress], bool]:
    """Return a test for addresses, which is that of gunicorn's ``proxy_allow_ips``.

    A UNIX peer is always allowed.

    Args:
        allowed: addresses and networks; ``*`` stands for every address.

    Raises:
        ValueError: one of them is neither.
    """
    texts = list(allowed)
    is_any = "*" in texts
    networks = [ipaddress.ip_network(each) for each in texts if each != "*"]

    def is_allowed(address: SocketAddress) -> bool:
        if is_any or not isinstance(address, tuple):
            return True
        try:
            peer = ipaddress.ip_address(address[0])
        except ValueError:
            return False
        return any(peer in network for network in networks)

    return is_allowed


_kept_allow_list = functools.lru_cache(maxsize=8)(allow_list)
"""For each new connection the networks would be parsed again."""


def take_proxy_header(sock: Any, *, wait: bool = True) -> None:
    """Read the PROXY protocol header that is next on `sock`, and nothing else.

    When it returns, what comes next is no header's. Where there was none, one may still come inside
    of TLS.

    Args:
        sock: a tracked socket that carries no TLS yet.
        wait: whether to wait for it.

    Raises:
        BlockingIOError: nothing is there, and it is not to be waited for.
        ProxyHeaderError: it is malformed, it ends before it is one, or the peer may not send any.
        HeaderTimeoutError: it has not come in time.
        OSError: as ``socket.recv`` does.
    """
    has_come = False
    while (duties := sock.duties) is not None and (parser := duties.proxy_parser) is not None:
        while not sock.is_ready(READ, duties.read_left() if wait else 0):
            if not wait:
                duties.read_left()
                raise BlockingIOError("nothing more of a PROXY header has come")
        try:
            count = parser.belonging(sock.recv_raw(_PEEK, socket.MSG_PEEK | _DONT_WAIT))
            if not count:
                break
            data = sock.recv_raw(count)
        except OSError as exc:
            ending.broke_off(duties.life, exc)
            raise
        if duties.read_header(parser, data):
            # Dropped they would be missing, and kept they would stand before what TLS carries.
            ending.note(duties.life, CloseReason.BAD_PROXY_HEADER)
            raise ProxyHeaderError("what came first had begun like a header, and is none")
        has_come = True
    if has_come and not wait and not sock.is_ready(READ, 0):
        raise BlockingIOError("nothing behind a PROXY header has come")


def fill(buffer: Any, size: int, recv: Callable[[int], bytes]) -> int:
    """Read into `buffer` what `recv` returns; return how much that is.

    Args:
        buffer: where to.
        size: how much at most; 0 for as much as there is room for.
        recv: reads as ``socket.recv`` does.
    """
    with memoryview(buffer) as view, view.cast("B") as octets:
        data = recv(size or len(octets))
        octets[: len(data)] = data
    return len(data)


def put_addresses(environ: dict[str, Any], header: ProxyHeader | None) -> None:
    """Put what a PROXY protocol header says into `environ`, by the names that gunicorn has."""
    if header is None or header.source is None or header.destination is None:
        return
    environ["REMOTE_ADDR"] = header.source[0]
    if "REMOTE_HOST" in environ:  # waitress has it there, and never a name
        environ["REMOTE_HOST"] = header.source[0]
    environ["REMOTE_PORT"] = str(header.source[1])  # a str, as PEP 3333 has it; so has gunicorn
    environ["PROXY_PROTOCOL"] = header.protocol
    environ["PROXY_ADDR"] = header.destination[0]
    environ["PROXY_PORT"] = str(header.destination[1])
