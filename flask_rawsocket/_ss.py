"""``flask rawsocket ss``: a table of the live connections of a running application.

Two ends that agree on names: in the application `describe` makes a row of a connection, and in
another process, with JSON over HTTP in between, the rest fetches the rows and shows them.

Two rules.  No row is ever refused for what it lacks: a connection without TCP, one that closed
meanwhile, an endpoint that tells less.  And what came from the network is only ever text here: it
is no markup, and it moves no cursor.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import ssl
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar
from urllib.parse import SplitResult, quote, unquote, urlsplit

import click

from ._address import AF_UNIX, RemoteAddr
from .errors import RawSocketError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from rich.live import Live
    from rich.table import Table

    from ._map import ConnectionMap
    from .connection import Connection

    _T = TypeVar("_T")

__all__ = [
    "COLUMNS",
    "DEFAULT_URL",
    "Display",
    "Endpoint",
    "EndpointError",
    "Page",
    "describe",
    "display",
    "select",
    "snapshot",
]

DEFAULT_URL = "http://127.0.0.1:8000/api/connections"
_TIMEOUT = 10.0
"""Seconds that the application may be silent."""

Row: TypeAlias = dict[str, Any]

# In the application

_TCP_FIELDS = (
    "state",
    "rtt",
    "rttvar",
    "min_rtt",
    "snd_cwnd",
    "snd_mss",
    "unacked",
    "lost",
    "total_retrans",
    "bytes_received",
    "bytes_acked",
    "delivery_rate",
)
"""Of `TCPInfo`, by its own names: what tells a healthy connection from one in trouble."""


def snapshot(connections: ConnectionMap) -> dict[str, Any]:
    """Give what an endpoint for ``flask rawsocket ss`` answers, ready for JSON.

    Args:
        connections: the live connections of this process.

    Returns:
        ``pid``, whose connections these are, and ``connections``: a row for each.
    """
    return {"pid": os.getpid(), "connections": [describe(each) for each in connections.values()]}


def describe(connection: Connection) -> Row:
    """Give a row for one connection, ready for JSON; at any time, also after its end.

    Times are in seconds.  ``queues`` (``receive``, ``send`` and ``unsent``, in bytes) and ``tcp``
    (some fields of `TCPInfo`) are None where the kernel has no answer: for a connection that has
    been closed, and the latter over UNIX.
    """
    reason = connection.close_reason
    return {
        "id": connection.id,
        "key": connection.key,
        "state": connection.state.name,
        "close_reason": reason and reason.name,
        "family": connection.family.name,
        "local_address": RemoteAddr.of_peer(connection.local_address),
        "is_unix": connection.is_unix,
        "is_tls": connection.is_tls,
        "managed": connection.managed,
        "requests": connection.requests,
        "opened_at": connection.opened_at.isoformat(timespec="milliseconds"),
        "age": round(connection.age, 3),
        "queues": _unless_unknown(lambda: asdict(connection.queues())),
        "tcp": _unless_unknown(lambda: _tcp_fields(connection)),
    }


def _tcp_fields(connection: Connection) -> dict[str, Any]:
    info = connection.tcp_info()
    return {name: getattr(info, name) for name in _TCP_FIELDS}


def _unless_unknown(ask: Callable[[], _T]) -> _T | None:
    """Give what `ask` gives; None where the kernel does not know, or the connection has gone."""
    try:
        return ask()
    except (RawSocketError, OSError):
        return None


# In the command: fetching


class EndpointError(click.ClickException):
    """The rows are not to be had; the text is one sentence that says why."""


class Page(NamedTuple):
    """What the application answered."""

    rows: list[Row]
    pid: int | None
    """The process that answered; None where it did not say."""

    @property
    def caption(self) -> str:
        """How many connections these are, and whose."""
        count = len(self.rows)
        whose = "" if self.pid is None else f" of process {self.pid}"
        return f"{count} connection{'s' * (count != 1)}{whose}"


class Endpoint:
    """Where the rows are to be had.

    Args:
        url: the URL; one without a path gets the default's.
        unix_socket: the path of a UNIX socket to connect to instead of the URL's host.
        insecure: take any certificate.

    Raises:
        EndpointError: that is no such URL.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, unix_socket: str | None = None, insecure: bool = False
    ) -> None:
        self._unix_socket = unix_socket
        self._insecure = insecure
        self._parts = _split(url)

    def __str__(self) -> str:
        # Without the password.
        url = self._parts._replace(netloc=self._parts.netloc.rpartition("@")[2]).geturl()
        return url if self._unix_socket is None else f"{url} by way of {self._unix_socket}"

    def fetch(self) -> Page:
        """Ask for the rows.

        Raises:
            EndpointError: they are not to be had.
        """
        return self._page(self._body())

    def _body(self) -> bytes:
        try:
            with contextlib.closing(self._connection()) as connection:
                connection.request("GET", self._target(), headers=self._headers())
                response = connection.getresponse()
                body = response.read()
        except ssl.SSLCertVerificationError as exc:
            raise EndpointError(
                f"{self} has a certificate that cannot be verified ({exc.verify_message}): "
                "--insecure takes any."
            ) from exc
        # UnicodeError: a host that is no name.
        except (OSError, http.client.HTTPException, UnicodeError) as exc:
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            raise EndpointError(f"Cannot read {self}: {_printable(reason)}.") from exc
        if response.status != http.client.OK:
            status = f"{response.status} {response.reason}".strip()
            raise EndpointError(f"{self} answers {_printable(status)}.")
        return body

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        connection: http.client.HTTPConnection
        if self._parts.scheme == "http":
            kind = http.client.HTTPConnection if self._unix_socket is None else _UnixConnection
            connection = kind(host, port, timeout=_TIMEOUT)
        else:
            tls = http.client.HTTPSConnection if self._unix_socket is None else _UnixTLSConnection
            connection = tls(host, port, timeout=_TIMEOUT, context=_context(self._insecure))
        if isinstance(connection, _UnixConnection):
            connection.path = self._unix_socket or ""
        return connection

    def _target(self) -> str:
        path = self._parts.path or urlsplit(DEFAULT_URL).path
        query = f"?{self._parts.query}" if self._parts.query else ""
        return quote(path + query, safe="/%?&=+:@,;~!$'()*")

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Connection": "close"}
        if self._parts.username is not None:
            user = f"{unquote(self._parts.username)}:{unquote(self._parts.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        return headers

    def _page(self, body: bytes) -> Page:
        """Take the rows out of an answer: a list of them, or an object whose field has it."""
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise EndpointError(f"What {self} answers is not JSON.") from exc
        rows, pid = answer, None
        if isinstance(answer, dict):
            rows, pid = answer.get("connections"), answer.get("pid")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise EndpointError(f"What {self} answers is no list of connections.")
        return Page(rows, pid if isinstance(pid, int) else None)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    path: str

    def connect(self) -> None:
        """Connect to `path`."""
        if AF_UNIX < 0:
            raise OSError("this system has no UNIX sockets")
        self.sock = socket.socket(AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self.path)


class _UnixTLSConnection(http.client.HTTPSConnection, _UnixConnection):
    """HTTPS over a UNIX socket: the first base shakes hands on what the second has connected."""


def _split(url: str) -> SplitResult:
    """Take `url` apart.

    Raises:
        EndpointError: it is not one of HTTP.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # an impossible port or IPv6 address
        usable = False
    if not usable:
        raise EndpointError(f"{url} is no URL that begins with http:// or https:// and a host.")
    return parts


def _context(insecure: bool) -> ssl.SSLContext:  # noqa: FBT001
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


# In the command: the table


def _count(number: float) -> str:
    return f"{number:.0f}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}ms"


def _duration(seconds: float) -> str:
    """Give a time in its two largest units."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days > 0:
        return f"{days}d{hours:02}h"
    if hours > 0:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes > 0 else f"{seconds:.1f}s"


_TOO_LARGE = 1e18
"""Neither infinity nor "not a number" is smaller, nor an integer that no float can hold."""


class Column(NamedTuple):
    """A column of the table."""

    name: str
    path: tuple[str, ...]
    """Where in a row its value is."""
    form: Callable[[float], str] | None = None
    """How its number is written; None for a text."""

    def value(self, row: Row) -> Any:
        """Give the value in `row`, a text or a sensible number; None if it has no such."""
        found: Any = row
        for name in self.path:
            found = found.get(name) if isinstance(found, dict) else None
        if self.form is None:
            return found if isinstance(found, str) else None
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        return found if is_number and abs(found) < _TOO_LARGE else None

    def cell(self, row: Row) -> str:
        """Give the text to show of `row`."""
        value = self.value(row)
        if value is None:
            return "-"
        return _printable(value) if self.form is None else self.form(value)

    def rank(self, row: Row) -> tuple[bool, Any]:
        """Give what to sort `row` by: numbers from the largest, texts from A on; none last."""
        value = self.value(row)
        if value is None:
            return True, 0
        return False, value if self.form is None else -value


COLUMNS = (
    Column("state", ("state",)),
    Column("key", ("key",)),
    Column("recv-q", ("queues", "receive"), _count),
    Column("send-q", ("queues", "send"), _count),
    Column("rtt", ("tcp", "rtt"), _milliseconds),
    Column("cwnd", ("tcp", "snd_cwnd"), _count),
    Column("retransmits", ("tcp", "total_retrans"), _count),
    Column("age", ("age",), _duration),
    Column("requests", ("requests",), _count),
)
"""The columns, from left to right; also what ``--sort`` takes."""


def select(page: Page, states: Collection[str] = (), sort: str | None = None) -> Page:
    """Give `page` with the rows in one of `states` only, in the order of the column `sort`.

    Args:
        page: what the application answered.
        states: names of states; all, if there are none.
        sort: the name of a column; None for the application's own order.
    """
    rows = [row for row in page.rows if not states or row.get("state") in states]
    if sort is not None:
        rows.sort(key=next(column.rank for column in COLUMNS if column.name == sort))
    return page._replace(rows=rows)


def _printable(text: str) -> str:
    """Give `text` without what would steer a terminal, or take another width than one."""
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text)


def _lines(rows: Sequence[Row]) -> Iterable[str]:
    """Give the table as aligned text, its head first."""
    table = [[column.name.upper() for column in COLUMNS]]
    table += [[column.cell(row) for column in COLUMNS] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    for line in table:
        cells = zip(line, widths, COLUMNS, strict=True)
        yield "  ".join(
            cell.ljust(width) if column.form is None else cell.rjust(width)
            for cell, width, column in cells
        )


# In the command: showing it


class Display(Protocol):
    """Where the table is shown, once or again and again."""

    def show(self, page: Page) -> None:
        """Show the table, in place of the last one if the display can do that."""

    def fail(self, sentence: str) -> None:
        """Say that there is no table now."""

    def close(self) -> None:
        """Show nothing more."""


def display(*, watching: bool) -> Display:
    """Give the display for standard output: a table by Rich if that is a terminal that can do it.

    Without a terminal, or without Rich (the extra ``cli``), it is plain text.

    Args:
        watching: whether the table will be shown more than once.
    """
    is_terminal = sys.stdout.isatty()
    if is_terminal and os.environ.get("TERM") not in {None, "dumb", "unknown"}:
        try:
            return _RichDisplay(watching=watching)
        except ModuleNotFoundError:
            pass  # plain text it is
    return _PlainDisplay(clear=is_terminal and watching)


class _PlainDisplay:
    """Aligned text: the head and the rows, nothing else."""

    def __init__(self, *, clear: bool) -> None:
        self._clear = clear
        """Whether a table takes the place of the one before."""
        self._between = ""

    def show(self, page: Page) -> None:
        if self._clear:
            click.clear()
        else:
            click.echo(self._between, nl=False)
            self._between = "\n"
        for line in _lines(page.rows):
            click.echo(line.rstrip())

    def fail(self, sentence: str) -> None:
        click.echo(sentence, err=True)

    def close(self) -> None:
        """Do nothing: all has been written."""


_STYLES = {"NEW": "cyan", "ACTIVE": "bold green", "IDLE": "dim", "HIJACKED": "magenta"}


class _RichDisplay:
    """A table on a terminal, by Rich; this class is all that imports it."""

    def __init__(self, *, watching: bool) -> None:
        from rich.console import Console  # noqa: PLC0415  it is optional
        from rich.live import Live  # noqa: PLC0415

        self._console = Console(highlight=False)
        self._live: Live | None = None
        if watching:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()

    def show(self, page: Page) -> None:
        self._put(self._table(page))

    def fail(self, sentence: str) -> None:
        from rich.text import Text  # noqa: PLC0415

        self._put(Text(sentence, style="red"))

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _put(self, what: Any) -> None:
        if self._live is not None:
            self._live.update(what, refresh=True)
        else:
            self._console.print(what)

    @staticmethod
    def _table(page: Page) -> Table:
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, caption=page.caption, caption_justify="left")
        for column in COLUMNS:
            side: Any = "left" if column.form is None else "right"
            table.add_column(column.name, justify=side, no_wrap=True)
        for row in page.rows:
            style = _STYLES.get(str(row.get("state")), "")
            table.add_row(*(Text(column.cell(row)) for column in COLUMNS), style=style)
        return table
