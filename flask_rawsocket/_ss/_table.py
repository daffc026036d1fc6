"""The rows as a table: its columns, which rows, their order, and how a value is written.

A table that has to fit into some width shortens its keys, and nothing else: half a number is a
wrong number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

__all__ = ["COLUMNS", "ELLIPSIS", "Page", "Row", "lines", "printable", "select"]

Row: TypeAlias = dict[str, Any]

ELLIPSIS = "…"
"""Stands for what was left out, where the output can have it."""


class Page(NamedTuple):
    """What the application answered."""

    rows: list[Row]
    pid: int | None
    """The process that answered; None where it did not say."""

    def caption(self, shown: int, mark: str = ELLIPSIS) -> str:
        """How many connections these are, and whose.

        Args:
            shown: how many of them are in the table.
            mark: what stands for the others.
        """
        count = len(self.rows)
        others = f"{mark} {count - shown} more: " if shown < count else ""
        whose = "" if self.pid is None else f" of process {self.pid}"
        return f"{others}{count} connection{'s' * (count != 1)}{whose}"


def printable(text: str) -> str:
    """Give `text` without what would steer a terminal, or take another width than one."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text)


def _count(number: float) -> str:
    return f"{number:.0f}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}ms"


def _duration(seconds: float) -> str:
    """Give a time in its two largest units."""
    if seconds < 0:  # divmod would make a time of day of it
        return f"-{_duration(-seconds)}"
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
    Column("retrans", ("tcp", "total_retrans"), _count),
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


_SHORTEST_KEY = 8
"""Fewer characters would tell no two connections apart."""


def lines(rows: Iterable[Row], width: int | None = None, mark: str = ELLIPSIS) -> Iterator[str]:
    """Give the table as aligned text, its head first.

    Args:
        rows: what to show.
        width: how long a line should be at most; keys are shortened for that, as far as they can.
        mark: one character that stands for what was left out of a key.
    """
    columns = [[column.name.upper(), *map(column.cell, rows)] for column in COLUMNS]
    widths = [max(map(len, cells)) for cells in columns]
    if width is not None:
        too_much = max(sum(widths) + len(_GAP) * (len(widths) - 1) - width, 0)
        widths[_KEY] = min(widths[_KEY], max(widths[_KEY] - too_much, _SHORTEST_KEY))
        columns[_KEY] = [_shortened(cell, widths[_KEY], mark) for cell in columns[_KEY]]
    for line in zip(*columns, strict=True):
        cells = zip(line, widths, COLUMNS, strict=True)
        yield _GAP.join(
            cell.ljust(width) if column.form is None else cell.rjust(width)
            for cell, width, column in cells
        ).rstrip()


_GAP = "  "
_KEY = next(index for index, column in enumerate(COLUMNS) if column.name == "key")


def _shortened(text: str, width: int, mark: str) -> str:
    """Give `text` in `width` characters, without its middle: the ends of a key tell most."""
    if len(text) <= width:
        return text
    kept = width - len(mark)
    return text[: kept // 2] + mark + text[kept // 2 - kept :]
