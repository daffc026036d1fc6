"""Where the table is shown: a terminal by Rich, which nothing else here imports, or plain text."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Protocol

import click

from ._table import COLUMNS, lines

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from ._table import Page

__all__ = ["Display", "display"]


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
        for line in lines(page.rows):
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
