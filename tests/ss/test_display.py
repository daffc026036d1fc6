"""Where the table is shown: terminals, with Rich and without, and pipes; watched, and once."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios

import pytest
from listing import COMMAND, HEAD, ROWS, failure, table
from servers import PATIENCE, held_port

from flask_rawsocket import _ss
from flask_rawsocket._ss import _display, _table

pytestmark = pytest.mark.slow


def test_watching_without_an_output(monkeypatch):
    """Watched, it shows nothing either, and fails without a word on it."""
    monkeypatch.setattr(sys, "stdout", None)
    display = _ss.display(watching=True)
    display.show(_ss.Page(ROWS, 1))
    display.fail("Nobody answers…")
    display.close()


# Again and again, and on a terminal


@contextlib.contextmanager
def started(*args, terminal=False, size=(30, 120), **env):
    """The command in a process of its own; without a terminal its output is a pipe.

    The terminal has `size`, lines and columns; pytest-xdist's own is in the environment.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in {"LINES", "COLUMNS"}}
    env = inherited | {"TERM": "xterm-256color"} | env
    reading, writing = pty.openpty() if terminal else os.pipe()
    if terminal:
        termios.tcsetwinsize(writing, size)
    try:
        process = subprocess.Popen(
            [*COMMAND, *args], stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, env=env
        )
    finally:
        os.close(writing)
    try:
        yield Output(process, reading)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(reading)


class Output:
    """What a process writes."""

    def __init__(self, process, descriptor):
        self.process = process
        self.descriptor = descriptor
        self.text = ""

    def until(self, pattern, count=1):
        """Read until `pattern` has come `count` times."""
        while len(re.findall(pattern, self.text)) < count:
            assert self._more(), self.text

    def interrupted(self):
        """Press Ctrl-C between two frames; give the exit code.

        Amid one it may hit coverage's own locks, and the process would hang for that.
        """
        while select.select([self.descriptor], [], [], 0.05)[0]:
            self._more()
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self):
        """Read to the end; give the exit code."""
        while self._more():
            pass
        return self.process.wait(PATIENCE)

    def _more(self):
        ready, _, _ = select.select([self.descriptor], [], [], PATIENCE)
        assert ready, self.text
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:  # a pty whose other end has been closed
            return False
        self.text += data.decode().replace("\r\n", "\n")
        return bool(data)

    @property
    def plain(self):
        """The text without what colours it."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.text)


def test_watch(site):
    """`--watch` shows the table again and again; Ctrl-C ends it, and that is not a failure."""
    with started(f"{site.url}/rows", "--watch", "0.1") as out:
        out.until("IDLE", 3)
        assert out.interrupted() == 0
    first, second, *_ = out.text.split("\n\n")
    assert table(first) == table(second)
    assert "Abort" not in out.text
    assert "\x1b" not in out.text


def test_watch_by_default(site):
    """Without a number it is every two seconds: the first table comes at once."""
    with started(f"{site.url}/rows", "--watch") as out:
        out.until("HIJACKED")
        assert out.interrupted() == 0


def test_watch_goes_on(site):
    """While it is watched an application may fail, and come back."""
    with started(f"{site.url}/rows", "--watch", "0.1") as out:
        out.until("IDLE")
        site.failure = 503
        out.until("answers 503 SERVICE UNAVAILABLE")
        site.answer, site.failure = [{"key": "back"}], None
        out.until("back")
        assert out.interrupted() == 0


def test_watch_nothing():
    """Where there is nothing from the start, there is nothing to wait for."""
    with held_port() as port:
        assert "Connection refused" in failure(f"http://127.0.0.1:{port}/", "--watch", "0.1")


def test_terminal(site):
    """On a terminal the table is coloured, and says how many connections there are, and whose."""
    site.answer = {"pid": 4711, "connections": ROWS}
    with started(f"{site.url}/rows", terminal=True) as out:
        assert out.end() == 0
    assert "\x1b[" in out.text
    head, *rows, caption = [line.split() for line in out.plain.splitlines()]
    assert [name.upper() for name in head] == HEAD
    assert rows[0] == "ACTIVE 192.0.2.1:1000 5 70000 12.300ms 10 3 4.2s 2".split()  # noqa: SIM905
    assert " ".join(caption) == "3 connections of process 4711"


def test_terminal_without_a_process(site):
    """Where the application does not say whose they are, neither does the table."""
    site.answer = [{"key": "[bold]x[/bold]"}]
    with started(f"{site.url}/rows", terminal=True) as out:
        assert out.end() == 0
    assert out.plain.splitlines()[-1].strip() == "1 connection"
    assert "[bold]x[/bold]" in out.plain


@pytest.mark.parametrize("pid", [True, -3, 0, "x"])
def test_no_process(site, pid):
    """What cannot be the id of a process is not shown as one."""
    site.answer = {"pid": pid, "connections": ROWS}
    with started(f"{site.url}/rows", terminal=True) as out:
        assert out.end() == 0
    assert out.plain.splitlines()[-1] == "3 connections"


LONG = "[2001:db8:1111:2222:3333:4444:5555:6666]:54321->[2001:db8::1]:8001"


@pytest.mark.parametrize("watch", [[], ["-w", "0.1"]])
def test_narrow_terminal(site, watch):
    """Where there is little room only the keys are shortened: no head, state or number is."""
    site.answer = [{**row, "key": LONG} for row in ROWS]
    with started(f"{site.url}/rows", *watch, terminal=True, size=(30, 80)) as out:
        out.until("3 connections")
        assert (out.interrupted() if watch else out.end()) == 0
    head, *rows = out.plain.replace("\x1b[?25l", "").splitlines()[:4]
    assert head.split() == HEAD
    assert [row.split() for row in rows] == [
        ["ACTIVE", "[2001…:8001", "5", "70000", "12.300ms", "10", "3", "4.2s", "2"],
        ["IDLE", "[2001…:8001", "0", "-", "-", "-", "-", "1h01m", "1"],
        ["HIJACKED", "[2001…:8001", "0", "0", "200.000ms", "4", "0", "1m30s", "31"],
    ]
    assert max(map(len, [head, *map(str.rstrip, rows)])) == 80


def test_too_narrow_terminal(site):
    """Where there is still less, the lines are longer than the terminal's, and nothing is lost."""
    site.answer = [{**ROWS[0], "key": LONG}]
    with started(f"{site.url}/rows", terminal=True, size=(30, 40)) as out:
        assert out.end() == 0
    (row,) = table("\n".join(out.plain.splitlines()[:2]))
    assert row == ["ACTIVE", "[20…8001", "5", "70000", "12.300ms", "10", "3", "4.2s", "2"]


@pytest.mark.parametrize("width", [20, 75, 80, 100, 141, 142, 200])
def test_width(width):
    """A line is as wide as it may be, or as it must be; a pipe's lines have all there is."""
    rows = [{**row, "key": LONG} for row in ROWS]
    whole = list(_table.lines(rows))
    assert all(LONG in line for line in whole[1:])
    widest = max(map(len, whole))
    narrowest = widest - len(LONG) + _table._SHORTEST_KEY
    expected = min(max(width, narrowest), widest)
    assert max(map(len, _table.lines(rows, width))) == expected


@pytest.mark.parametrize("with_rich", [True, False])
def test_watch_more_than_a_screen(site, tmp_path, with_rich):
    """Of more rows than the screen has lines the first are shown, and how many more there are."""
    env = {} if with_rich else hiding_rich(tmp_path)
    site.answer = {"pid": 4711, "connections": [{"key": f"@7.{n}"} for n in range(300)]}
    with started(f"{site.url}/rows", "-w", "0.1", terminal=True, size=(10, 80), **env) as out:
        out.until("connections of process", 3)
        assert out.interrupted() == 0
    shown = 8 if with_rich else 7  # without Rich the cursor has a line of its own
    assert f"… {300 - shown} more: 300 connections of process 4711" in out.plain
    assert f"@7.{shown - 1} " in out.plain
    assert f"@7.{shown} " not in out.plain


class Unread(dict):
    """A row that nobody may look at."""

    def get(self, name):
        raise AssertionError(name)


def test_rows_beyond_the_screen_cost_nothing(monkeypatch, capsys):
    """Watching thirty thousand rows takes no longer than watching a screen of them."""
    monkeypatch.setenv("LINES", "10")
    shown = _display._RichDisplay(watching=True)
    with contextlib.closing(shown):
        shown.show(_table.Page([{"key": "seen"}] * 8 + [Unread()] * 30_000, None))
    assert capsys.readouterr().out.count("seen") == 8


def test_many_rows(site):
    """Without watching all rows are shown, also on a terminal that is smaller."""
    site.answer = [{"key": f"@7.{number}", "state": "IDLE"} for number in range(3000)]
    with started(f"{site.url}/rows", terminal=True, size=(10, 80)) as out:
        assert out.end() == 0
    assert len(re.findall(r"@7\.\d+ ", out.plain)) == 3000
    assert out.plain.splitlines()[-1] == "3000 connections"


@pytest.mark.parametrize("with_rich", [True, False])
def test_locale(site, tmp_path, with_rich):
    """Where the locale has little more than ASCII, nothing else is written."""
    env = {"PYTHONIOENCODING": "ascii"} | ({} if with_rich else hiding_rich(tmp_path))
    site.answer = [{"key": LONG}] * 300
    with started(
        f"{site.url}/rows?\u00e4", "-w", "0.1", terminal=True, size=(10, 60), **env
    ) as out:
        out.until(r"\[20\+8001")
        out.until(r"\+ 29\d more: 300 connections")
        site.failure = 503
        out.until(r"rows\?\\xe4 answers 503 SERVICE")
        assert out.interrupted() == 0
    assert out.text.isascii()
    assert "Traceback" not in out.text


def test_watch_on_a_terminal(site):
    """There a table takes the place of the one before, and the cursor is back at the end."""
    with started(f"{site.url}/rows", "-w", "0.1", terminal=True) as out:
        out.until("3 connections", 3)
        site.failure = 503
        out.until("answers 503")
        assert out.interrupted() == 0
    assert "\x1b[1A" in out.text  # a line up
    assert out.text.rindex("\x1b[?25h") > out.text.rindex("\x1b[?25l")


def hiding_rich(folder):
    """The environment of a process in which Rich is not installed."""
    (folder / "rich").mkdir()
    (folder / "rich" / "__init__.py").write_text("raise ModuleNotFoundError('no rich here')\n")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def without_rich(tmp_path):
    return hiding_rich(tmp_path)


def test_terminal_without_rich(site, without_rich):
    """Without Rich a terminal gets the plain table."""
    with started(f"{site.url}/rows", terminal=True, **without_rich) as out:
        assert out.end() == 0
    assert "\x1b" not in out.text
    assert len(table(out.text)) == 3


def test_watch_on_a_terminal_without_rich(site, without_rich):
    """And a clear screen for each."""
    with started(f"{site.url}/rows", "-w", "0.1", terminal=True, **without_rich) as out:
        out.until(r"\x1b\[2J", 3)
        assert out.interrupted() == 0


def test_dumb_terminal(site):
    """A terminal that can do nothing gets the plain table."""
    with started(f"{site.url}/rows", terminal=True, TERM="dumb") as out:
        assert out.end() == 0
    assert len(table(out.text)) == 3


def test_forced_colours(site):
    """A pipe gets the plain table, whatever the environment says of colours."""
    with started(f"{site.url}/rows", FORCE_COLOR="1") as out:
        assert out.end() == 0
    assert "\x1b" not in out.text
    assert len(table(out.text)) == 3
