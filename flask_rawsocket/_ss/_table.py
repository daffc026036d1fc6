"""The rows as a table: its columns, which rows it has and in which order, how values are written.

A table that has to fit into a given width shortens its keys and nothing else: half a number would
be a wrong number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

__all__ = ["COLUMNS", "ELLIPSIS", "Page", "Row", "lines", "printable", "select"]

Row: TypeAlias = dict[str, Any]

ELLIPSIS = "…"
"""Marks an omission, if the output can represent it."""


class Page(NamedTuple):
    """The application's answer."""

    rows: list[Row]
    pid: int | None
    """The id of the process that answered; None if it did not say."""

    def caption(self, shown: int, mark: str = ELLIPSIS) -> str:
        """Return a line that says how many connections these are, and of which process.

        Args:
            shown: how many of them are in the table.
            mark: marks the omission of the others.
        """
        count = len(self.rows)
        others = f"{mark} {count - shown} more: " if shown < count else ""
        whose = "" if self.pid is None else f" of process {self.pid}"
        return f"{others}{count} connection{'s' * (count != 1)}{whose}"


def printable(text: str) -> str:
    """Return `text` without characters that control a terminal or are not one column wide."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text)


def _count(number: float) -> str:
    return f"{number:.0f}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}ms"


def _duration(seconds: float) -> str:
    """Return a time in its two largest units."""
    if seconds < 0:  # divmod would round it towards minus infinity
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
"""Numbers from here on are not shown; nor are infinity, NaN and integers too large for a float."""


class Column(NamedTuple):
    """A column of the table."""

    name: str
    path: tuple[str, ...]
    """Where its value is in a row."""
    form: Callable[[float], str] | None = None
    """How its number is written; None for text."""

    def value(self, row: Row) -> Any:
        """Return the value in `row`, a str or a sensible number; None if it has neither."""
        found: Any = row
        for name in self.path:
            found = found.get(name) if isinstance(found, dict) else None
        if self.form is None:
            return found if isinstance(found, str) else None
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        return found if is_number and abs(found) < _TOO_LARGE else None

    def cell(self, row: Row) -> str:
        """Return the text to show for `row`."""
        value = self.value(row)
        if value is None:
            return "-"
        return printable(value) if self.form is None else self.form(value)

    def rank(self, row: Row) -> tuple[bool, Any]:
        """Return the sort key of `row`: the largest number first, text from A to Z, None last."""
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
"""The columns, from left to right; ``--sort`` takes their names."""


def select(page: Page, states: Collection[str] = (), sort: str | None = None) -> Page:
    """Return `page` with only the rows in one of `states`, sorted by the column `sort`.

    Args:
        page: the application's answer.
        states: names of states; without any, all rows are kept.
        sort: the name of a column; None for the application's own order.
    """
    rows = [row for row in page.rows if not states or row.get("state") in states]
    if sort is not None:
        rows.sort(key=next(column.rank for column in COLUMNS if column.name == sort))
    return page._replace(rows=rows)


_SHORTEST_KEY = 8
"""With fewer characters, keys would all look the same."""


def lines(rows: Iterable[Row], width: int | None = None, mark: str = ELLIPSIS) -> Iterator[str]:
    """Yield the lines of the table as aligned text, its head first.

    Args:
        rows: the rows to show.
        width: the longest that a line should be; keys are shortened for it as far as possible.
        mark: one character that marks an omission in a key.
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
    """Return `text` in `width` characters, without its middle: the ends of a key tell the most."""
    if len(text) <= width:
        return text
    kept = width - len(mark)
    return text[: kept // 2] + mark + text[kept // 2 - kept :]
