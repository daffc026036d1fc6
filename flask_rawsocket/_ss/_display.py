"""Where the table is shown: a terminal by Rich, which nothing else here imports, or plain text."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, Protocol

import click

from ._table import ELLIPSIS, lines

if TYPE_CHECKING:
    from rich.live import Live
    from rich.segment import Segments

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
    # None where it was closed before we began: nothing is shown then.
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    if is_terminal and os.environ.get("TERM") not in {None, "dumb", "unknown"}:
        try:
            return _RichDisplay(watching=watching)
        except ModuleNotFoundError:
            pass  # plain text it is
    return _PlainDisplay(clear=is_terminal and watching)


class _Encoding:
    """What standard output can write: in some locales little more than ASCII."""

    def __init__(self) -> None:
        # Once, as Rich puts something else in the place of standard output.
        self._name = "utf-8" if sys.stdout is None else sys.stdout.encoding
        self.mark = ELLIPSIS if self.escaped(ELLIPSIS) == ELLIPSIS else "+"
        """The character that stands for what was left out."""

    def escaped(self, text: str) -> str:
        """Give `text` with escapes for what could not be written."""
        return text.encode(self._name, "backslashreplace").decode(self._name)


class _PlainDisplay:
    """Aligned text: the head and the rows, nothing else but on a terminal that is watched."""

    def __init__(self, *, clear: bool) -> None:
        self._clear = clear
        """Whether a table takes the place of the one before."""
        self._between = ""
        self._encoding = _Encoding()

    def show(self, page: Page) -> None:
        if self._clear:
            self._show_screen(page)
            return
        click.echo(self._between, nl=False)
        self._between = "\n"
        for line in lines(page.rows):
            click.echo(line)

    def _show_screen(self, page: Page) -> None:
        """Show what fits on the screen: the top of the table, and how much more there is."""
        width, height = shutil.get_terminal_size()
        # Besides the rows: the head, the caption, and the line on which the cursor ends up.
        rows = page.rows[: max(height - 3, 1)]
        click.clear()
        for line in lines(rows, width, self._encoding.mark):
            click.echo(line)
        click.echo(page.caption(len(rows), self._encoding.mark))

    def fail(self, sentence: str) -> None:
        click.echo(self._encoding.escaped(sentence), err=True)

    def close(self) -> None:
        """Do nothing: all has been written."""


_STYLES = {"NEW": "cyan", "ACTIVE": "bold green", "IDLE": "dim", "HIJACKED": "magenta"}


class _RichDisplay:
    """A table on a terminal, by Rich; this class is all that imports it.

    Rich does the styles, and puts a table in the place of the last one. The lines are made here:
    its own tables would shorten any column, and take a second for a thousand rows.
    """

    def __init__(self, *, watching: bool) -> None:
        from rich.console import Console  # noqa: PLC0415  it is optional
        from rich.live import Live  # noqa: PLC0415

        self._encoding = _Encoding()
        self._console = Console(highlight=False)
        self._live: Live | None = None
        if watching:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()

    def show(self, page: Page) -> None:
        room = len(page.rows)
        if self._live is not None:  # beyond the screen nothing could be shown in place
            room = max(self._console.height - 2, 1)
        self._put(self._table(page, room))

    def fail(self, sentence: str) -> None:
        from rich.text import Text  # noqa: PLC0415

        self._put(Text(self._encoding.escaped(sentence), style="red"))

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _put(self, what: Any) -> None:
        if self._live is not None:
            self._live.update(what, refresh=True)
        else:
            # Lines that are too long for the terminal are its own to break: nothing is lost.
            self._console.print(what, crop=False)

    def _table(self, page: Page, room: int) -> Segments:
        """Give the head, at most `room` rows and the caption, each a line in its style."""
        from rich.segment import Segment, Segments  # noqa: PLC0415

        rows, mark = page.rows[:room], self._encoding.mark
        texts = [*lines(rows, self._console.width, mark), page.caption(len(rows), mark)]
        styles = ["bold", *(_STYLES.get(str(row.get("state")), "") for row in rows), "dim italic"]
        segments = map(Segment, texts, map(self._console.get_style, styles))
        return Segments(segments, new_lines=True)
