"""What a request costs, counted instead of timed: ``make bench-instructions``.

    python benchmarks/instructions.py --app wsgi --transport tcp --kind keepalive
    python benchmarks/instructions.py --against ../other-checkout --detail 20

Instructions (valgrind's callgrind), system calls (strace) and Python calls (a profile function)
of one gunicorn worker for each request, plain and ours. Counts do not depend on how busy the
machine is: the instructions repeat to within 1 % (``--twice`` shows it). A cell takes about two
minutes and a half, all of them half an hour.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import counting
import machine
from app import FACTORIES
from client import BadAnswerError
from counting import FIRST, MORE, Missing, Run
from servers import OURS, PLAIN, ServerFailedError, Setup
from tables import table

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

_Done = TypeVar("_Done")
_WORKERS = {"gthread": "thread", "sync": "sync", "gevent": "gevent"}
_METERS: dict[str, Callable[[Run], Counter[str]]] = {
    "instructions": counting.instructions,
    "system calls": counting.system_calls,
    "Python calls": counting.function_calls,
}
_FAILURES = (ServerFailedError, BadAnswerError, OSError, subprocess.SubprocessError)


@dataclass(frozen=True)
class Cell:
    """One kind of request to one kind of worker."""

    worker: str
    app: str
    kind: str
    transport: str

    @property
    def possible(self) -> bool:
        """The sync worker closes after every response."""
        return (self.worker, self.kind) != ("sync", "keepalive")

    def __str__(self) -> str:
        """Name it in a line of the report."""
        return f"{self.worker}, {self.app}, {self.kind}, {self.transport}"


@dataclass(frozen=True)
class Column:
    """A worker class, and the checkout that it comes from."""

    title: str
    workers: dict[str, str]
    checkout: Path | None = None

    def run(self, cell: Cell, directory: Path, options: argparse.Namespace) -> Run:
        """Make what is to be counted."""
        path = () if self.checkout is None else (("PYTHONPATH", str(self.checkout)),)
        setup = Setup(
            worker=self.workers[_WORKERS[cell.worker]],
            app=f"app:{FACTORIES[cell.app].__name__}()",
            unix=cell.transport == "unix",
            environment=path,
        )
        return Run(setup, cell.kind == "close", directory, options.first, options.more)


@dataclass
class Bench:
    """The counts of all the cells, and what could not be counted."""

    options: argparse.Namespace
    directory: Path
    columns: list[Column]
    rows: list[list[str]] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def measure(self, cell: Cell) -> None:
        """Count every column of a cell, by every meter."""
        for column in self.columns:
            if not self._try(f"{cell}, {column.title}", lambda c=column: self._rehearse(cell, c)):
                return
        for name in self.options.count:
            counts = [
                self._try(
                    f"{cell}, {column.title}, {name}",
                    lambda c=column, n=name: _METERS[n](self._run(cell, c)),
                )
                for column in self.columns
            ]
            if all(counts):
                self._add(cell, name, counts)

    def _run(self, cell: Cell, column: Column) -> Run:
        return column.run(cell, self.directory, self.options)

    def _rehearse(self, cell: Cell, column: Column) -> bool:
        counting.rehearse(self._run(cell, column))
        return True

    def _try(self, what: str, do: Callable[[], _Done]) -> _Done | None:
        try:
            done = do()
        except Missing as exc:
            self.notes[str(exc)] = None
            return None
        except _FAILURES as exc:
            self.errors.append(f"{what}: {exc}")
            return None
        print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)
        return done

    def _add(self, cell: Cell, name: str, counts: list[Counter[str]]) -> None:
        each = [count.total() / self.options.more for count in counts]
        figures = [f"{value:,.0f}" if name == "instructions" else f"{value:.1f}" for value in each]
        *others, ours = each
        ratios = [f"{other / ours:.3f}" for other in others]
        self.rows.append(
            [cell.worker, cell.app, cell.kind, cell.transport, name, *figures, *ratios]
        )
        if self.options.detail and name != "instructions":
            self.details.append(f"\n{cell}: {name}\n\n{self._detail(counts)}")

    def _detail(self, counts: list[Counter[str]]) -> str:
        """List what differs most between ours and the column before it."""
        *_, before, ours = counts
        more = {name: ours[name] - before[name] for name in {*before, *ours}}
        names = sorted(more, key=lambda name: (-abs(more[name]), name))[: self.options.detail]
        return table(
            ["name", *(column.title for column in self.columns), "difference"],
            [
                [name, *(self._each(count[name]) for count in counts), self._each(more[name])]
                for name in names
            ],
        )

    def _each(self, total: int) -> str:
        return f"{total / self.options.more:.2f}"

    def show(self) -> None:
        """Print the table, what was left out, and every error."""
        titles = [column.title for column in self.columns]
        head = ["worker", "app", "connection", "socket", "for each request", *titles]
        head += [f"{title} / {titles[-1]}" for title in titles[:-1]]
        print("\n" + table(head, self.rows))
        for text in (*self.details, *self.notes):
            print(text)
        print(f"\nErrors: {len(self.errors) or 'none'}")
        for error in self.errors:
            print(f"- {error}")


def _columns(options: argparse.Namespace, directory: Path) -> list[Column]:
    columns = [Column("plain", PLAIN)]
    if options.against:
        columns.append(Column(_commit(options.against), OURS, options.against))
    ours = Column("ours", OURS)
    columns.append(ours)
    if options.twice:
        columns.append(Column("ours again", OURS))
    for column in columns[1:]:
        where = counting.package_path(column.checkout, directory)
        if column.checkout and not where.is_relative_to(column.checkout):
            raise ServerFailedError(f"there is no flask_rawsocket in {column.checkout}")
    return columns


def _commit(checkout: Path) -> str:
    """Name a checkout by its commit, or by its folder where there is none."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        return checkout.name
    return run.stdout.strip() or checkout.name


def _cells(options: argparse.Namespace) -> Iterator[Cell]:
    names = (options.worker, options.app, options.kind, options.transport)
    return (cell for cell in itertools.starmap(Cell, itertools.product(*names)) if cell.possible)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, choices, default in (
        ("--worker", _WORKERS, list(_WORKERS)),
        ("--app", FACTORIES, ["flask", "wsgi"]),
        ("--kind", ("keepalive", "close"), ["keepalive", "close"]),
        ("--transport", ("tcp", "unix"), ["tcp", "unix"]),
        ("--count", _METERS, list(_METERS)),
    ):
        parser.add_argument(name, choices=choices, nargs="+", default=default)
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout of ours")
    parser.add_argument("--twice", action="store_true", help="count ours twice: the noise")
    parser.add_argument("--detail", type=_bounded, default=0, help="so many names of calls, too")
    parser.add_argument("--first", type=_bounded, default=FIRST, help="requests of the short run")
    parser.add_argument(
        "--more", type=_bounded, default=MORE, help="how many more the long one has"
    )
    return parser.parse_args(arguments)


def _bounded(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:  # noqa: PLR2004
        raise ValueError(text)
    return number


def main(arguments: list[str]) -> int:
    """Count the chosen cells and print the table."""
    options = _parse(arguments)
    if options.against:
        options.against = options.against.resolve()
    machine.leave_on_signals()
    cells = list(_cells(options))
    found = machine.versions() | counting.tools()
    for what in ("date", "python", "gunicorn", "flask", "werkzeug", "kernel", *counting.tools()):
        print(f"{what}: {found[what]}")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        bench = Bench(options, directory, _columns(options, directory))
        for cell in cells:
            bench.measure(cell)
        bench.show()
    return 1 if bench.errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
