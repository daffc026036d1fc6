"""Where the table is shown: on a terminal with Rich, which only this file uses, or as text."""

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
    """Where the table is shown, once or repeatedly."""

    def show(self, page: Page) -> None:
        """Show the table, replacing the last one if the display can do that."""

    def fail(self, sentence: str) -> None:
        """Show a sentence that says why there is no table now."""

    def close(self) -> None:
        """End the display."""


def display(*, watching: bool) -> Display:
    """Return the display for standard output: Rich's on a terminal that is capable of it.

    Without such a terminal, or without Rich (the extra ``cli``), it is plain text.

    Args:
        watching: whether the table will be shown more than once.
    """
    # None if standard output was closed before we started: then nothing is shown.
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    if is_terminal and os.environ.get("TERM") not in {None, "dumb", "unknown"}:
        try:
            return _RichDisplay(watching=watching)
        except ModuleNotFoundError:
            pass  # fall back to plain text
    return _PlainDisplay(clear=is_terminal and watching)


class _Encoding:
    """The characters that standard output can write: in some locales little more than ASCII."""

    def __init__(self) -> None:
        # Read once, as Rich replaces standard output.
        self._name = "utf-8" if sys.stdout is None else sys.stdout.encoding
        self.mark = ELLIPSIS if self.escaped(ELLIPSIS) == ELLIPSIS else "+"
        """The character that marks an omission."""

    def escaped(self, text: str) -> str:
        """Return `text` with escapes for characters that could not be written."""
        return text.encode(self._name, "backslashreplace").decode(self._name)


class _PlainDisplay:
    """Aligned text: the head and the rows; with a caption if it is watched on a terminal."""

    def __init__(self, *, clear: bool) -> None:
        self._clear = clear
        """Whether each table replaces the one before."""
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
        """Show the top of the table, as much as fits on the screen, and say how much is missing."""
        width, height = shutil.get_terminal_size()
        # Three other lines: the head, the caption, and the one where the cursor ends up.
        rows = page.rows[: max(height - 3, 1)]
        click.clear()
        for line in lines(rows, width, self._encoding.mark):
            click.echo(line)
        click.echo(page.caption(len(rows), self._encoding.mark))

    def fail(self, sentence: str) -> None:
        click.echo(self._encoding.escaped(sentence), err=True)

    def close(self) -> None:
        """Do nothing: everything has been written."""


_STYLES = {"NEW": "cyan", "ACTIVE": "bold green", "IDLE": "dim", "HIJACKED": "magenta"}


class _RichDisplay:
    """A table on a terminal, shown by Rich; only this class imports it.

    Rich applies the styles, and replaces a table with the next one. The lines are made here, as
    Rich's own tables would shorten any column, and take a second for a thousand rows.
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
        if self._live is not None:  # Rich can only replace what is on the screen
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
            # The terminal itself breaks lines that are too long: nothing is lost.
            self._console.print(what, crop=False)

    def _table(self, page: Page, room: int) -> Segments:
        """Return the head, at most `room` rows and the caption, each a line in its style."""
        from rich.segment import Segment, Segments  # noqa: PLC0415

        rows, mark = page.rows[:room], self._encoding.mark
        texts = [*lines(rows, self._console.width, mark), page.caption(len(rows), mark)]
        styles = ["bold", *(_STYLES.get(str(row.get("state")), "") for row in rows), "dim italic"]
        segments = map(Segment, texts, map(self._console.get_style, styles))
        return Segments(segments, new_lines=True)
