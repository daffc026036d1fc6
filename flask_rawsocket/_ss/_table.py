"""The rows as a table: its columns, which rows, their order, and how a value is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

__all__ = ["COLUMNS", "Page", "Row", "lines", "printable", "select"]

Row: TypeAlias = dict[str, Any]


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


def printable(text: str) -> str:
    """Give `text` without what would steer a terminal, or take another width than one."""
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text)


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
        return printable(value) if self.form is None else self.form(value)

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


def lines(rows: Sequence[Row]) -> Iterable[str]:
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
