"""Every code block of the README and of ``docs/`` is run, in a folder of its page's own.

A page is read from top to bottom.  A ``python`` block that makes a Flask begins a new ``app.py``,
any other is added to it; either way the file is run.  One that begins with a file's name in a
comment is written to that file, a client for a ``console`` block to run.  In a ``console`` block a
line after ``$`` is a command: one that starts a server leaves it running for those that follow, and
what stands under any other is its output.  A ``console`` block without commands is what the
server's log has by then.
``...`` in an expected text stands for anything; ports, process ids and widths of columns are what
they are.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from servers import PATIENCE, held_port, wait_for

import flask_rawsocket
from flask_rawsocket import sockinfo, testing

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = {"python", "console"}
NO_CODE = re.compile(r"text|\{[\w-]+\}.*")
"""Diagrams, and directives, which Sphinx runs."""
SCRIPT = re.compile(r"# ([\w.]+\.py)\n")
"""The first line of a block that is a file of its own."""
ADDRESS = re.compile(r'(127\.0\.0\.1"?(?::|, ))(\d+)')
"""An address in a command or in a script; the port is replaced by one that is free."""

UNSTABLE = (
    (re.compile(r"(\d+\.\d+\.\d+\.\d+):\d+"), r"\1:PORT"),
    (re.compile(r'\["(\d+\.\d+\.\d+\.\d+)",\d+\]'), r'["\1",PORT]'),
    (re.compile(r"@\d+\."), "@PID."),
    (re.compile(r"\buid:\d+"), "uid:UID"),
    (re.compile(r" {2,}"), "  "),
)

READY = """
from pathlib import Path

# Where there is no --config, gunicorn reads this file.
if Path("gunicorn.conf.py").exists():
    exec(Path("gunicorn.conf.py").read_text())


def post_worker_init(worker):
    worker.log.info("is ready")
"""


def blocks(page):
    """Give the language and the text of every fenced block."""
    return FENCE.findall(page.read_text())


def settled(text):
    """Give `text` without what differs from run to run."""
    for pattern, stable in UNSTABLE:
        text = pattern.sub(stable, text)
    return text.strip()


def pattern_of(expected):
    """Give the pattern of an expected text: ``...`` stands for anything."""
    return ".*".join(re.escape(part) for part in settled(expected).split("..."))


class Page:
    """Runs the blocks of a page."""

    def __init__(self, folder, certificate):
        self.folder = folder
        self.source = folder / "app.py"
        self.log = folder / "log"
        self.log.touch()
        self.server = None
        self.ports = {}
        self.held = contextlib.ExitStack()
        for path, name in zip(certificate, ("cert.pem", "key.pem"), strict=True):
            shutil.copy(path, folder / name)
        (folder / "half-a-head").write_text("GET / HT")
        # gunicorn listens before its worker has loaded the application, whose settings may concern
        # the listener; this is said when it has.
        self.ready = folder / "ready.conf.py"
        self.ready.write_text(READY)

    @property
    def environ(self):
        return os.environ | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONUNBUFFERED": "1",
            "GUNICORN_CMD_ARGS": f"--no-control-socket -b 127.0.0.1:{self.port('8000')} "
            f"--config {self.ready}",
            "FLASK_RUN_PORT": self.port("5000"),
        }

    def port(self, written):
        """Give the port that stands for one which the page names; it is held until `close`."""
        if written not in self.ports:
            self.ports[written] = str(self.held.enter_context(held_port()))
        return self.ports[written]

    def python(self, text):
        if script := SCRIPT.match(text):
            (self.folder / script[1]).write_text(self.with_ports(text))
            return
        before = "" if "Flask(__name__)" in text and "def " in text else self.so_far()
        self.source.write_text(self.with_ports(before + text))
        done = subprocess.run(
            [sys.executable, "-W", "error", self.source],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def so_far(self):
        return self.source.read_text() + "\n" if self.source.exists() else ""

    def console(self, text):
        logged, *commands = re.split(r"^\$ ", text, flags=re.MULTILINE)
        for line in logged.splitlines():
            self.logged(line)
        for each in commands:
            line, _, expected = each.partition("\n")
            self.command(shlex.split(line), expected)

    def command(self, words, expected):
        match words:
            case ["make", *targets]:
                subprocess.run(["make", "-n", *targets], cwd=ROOT, check=True, capture_output=True)
            case ["pip", "install", spec]:
                self.installs(spec)
            case (
                ["gunicorn", *_]
                | ["flask", "run", *_]
                | ["flask", "rawsocket", "run", *_]
                | ["python", "-m", "flask_rawsocket.waitress", *_]
            ):
                self.start([sys.executable if each == "python" else each for each in words])
            case ["curl", *arguments]:
                self.shows(["curl", "--silent", "--show-error", *arguments], expected)
            case ["flask", "rawsocket", "ss", *_] | ["pytest", *_]:
                self.shows(words, expected)
            case ["python", *script]:
                self.shows([sys.executable, "-W", "error", *script], expected)
            case ["kill", "$(cat", "app.pid)"]:
                assert int((self.folder / "app.pid").read_text()) == self.server.pid
                self.stop()
            case _:
                raise AssertionError(f"no test knows how to run {shlex.join(words)}")

    def installs(self, spec):
        """Check that the checkout, with the extras that `spec` names, can be asked for."""
        found = re.fullmatch(r"\.\[([\w,]+)\]", spec)
        assert found, spec
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert set(found[1].split(",")) <= set(project["optional-dependencies"])

    def start(self, words):
        self.stop()
        words = [self.with_ports(each) for each in words]
        if "--port" in words:
            where = words.index("--port") + 1
            words[where] = self.port(words[where])
        self.log.write_bytes(b"")
        with self.log.open("wb") as output:
            self.server = subprocess.Popen(
                words,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        wait_for(self.is_up, f"{shlex.join(words)} to start")

    def is_up(self):
        """Tell whether the server listens, by its log: a connection would be counted."""
        text = self.log.read_text()
        assert self.server.poll() is None, text
        return any(each in text for each in ("is ready", "CTRL+C", "Serving on"))

    def with_ports(self, word):
        return ADDRESS.sub(lambda found: found[1] + self.port(found[2]), word)

    def shows(self, command, expected):
        """Run `command`, and check that it prints what the page says."""
        done = subprocess.run(
            [self.with_ports(each) for each in command],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr + self.log.read_text()
        assert expected.strip(), "a request whose answer the page does not show"
        assert re.fullmatch(pattern_of(expected), settled(done.stdout), re.DOTALL), (
            done.stdout + self.log.read_text()
        )

    def logged(self, line):
        wait_for(
            lambda: re.search(pattern_of(line), settled(self.log.read_text())), f"{line!r} logged"
        )

    def stop(self):
        """End the server by its own process id; it must end well, or by that signal."""
        if self.server is None:
            return
        server, self.server = self.server, None
        server.terminate()
        try:
            status = server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            raise
        assert status in {0, -15}, self.log.read_text()

    def close(self):
        with self.held:
            self.stop()


@pytest.fixture
def page(tmp_path, certificate):
    """A page's folder; its server is ended whatever happens."""
    found = Page(tmp_path, certificate)
    yield found
    found.close()


@pytest.mark.slow
@pytest.mark.timeout(180)  # a page has many commands, and starts a server for most
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_blocks(path, page):
    """Every block does what the page says."""
    for language, text in blocks(path):
        if language in CODE:
            getattr(page, language)(text)
        else:
            assert NO_CODE.fullmatch(language), f"no test runs {language!r} blocks"


def test_there_are_blocks():
    """The fences are found: without that every page would pass."""
    languages = [language for path in PAGES for language, _ in blocks(path)]
    assert languages.count("python") > 10
    assert languages.count("console") > 20


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_files(path):
    """A link to a file of the checkout leads to one."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize(
    "module", [flask_rawsocket, sockinfo, testing], ids=lambda each: each.__name__
)
def test_public_names(module):
    """The API's page has every public name."""
    page = (ROOT / "docs" / "api.md").read_text()
    listed = set(re.findall(r"^\.\. (?:auto)?\w+:: ([\w.]+)", page, re.MULTILINE))
    names = set(module.__all__) - {"sockinfo"}  # a module, which has a section
    assert names - {each.rpartition(".")[2] for each in listed} == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_private_names(path):
    """No page tells anybody to use a private name."""
    assert re.findall(r"flask_rawsocket(?:\.\w+)*\._\w+", path.read_text()) == []


def test_extras():
    """The extras that are for users are on the page that says how to install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"]) - {"test", "bench", "docs", "dev"}
    page = (ROOT / "docs" / "quickstart.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == extras


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("python", "assert 1 == 2"),
        ("python", "import flask_rawsocket\nflask_rawsocket.no_such_name"),
        ("console", "$ make no-such-target"),
        ("console", "$ pip install '.[no-such-extra]'"),
        ("console", "$ unknown-command"),
        ("console", "$ python no_such_script.py\nhello"),
    ],
)
def test_a_wrong_block_fails(page, kind, text):
    """The runner itself: a block that is not true does not pass."""
    with pytest.raises((AssertionError, subprocess.CalledProcessError)):
        getattr(page, kind)(text)


def test_a_wrong_answer_fails(page):
    """The runner itself: an answer that is not the page's does not pass."""
    page.python(
        "from flask import Flask\napp = Flask(__name__)\n\n"
        '@app.get("/")\ndef index():\n    return "hello"\n'
    )
    page.console("$ flask run\n$ curl http://127.0.0.1:5000/\nhe...o\n")
    for wrong in ("hell", "hello you", "$ curl http://127.0.0.1:5000/none\nhello", ""):
        with pytest.raises(AssertionError):
            page.console(f"$ curl http://127.0.0.1:5000/\n{wrong}\n")


class TestScenarios:
    """The page that maps Go's scenarios to our tests."""

    TEXT = (ROOT / "docs" / "go-scenarios.md").read_text()
    NAMED = re.compile(r"`(tests/[\w/]+\.py)::(?:(\w+)::)?(\w+)`")

    def test_every_number(self):
        """Each scenario has one row, and each row names a test or says why there is none."""
        rows = re.findall(r"^\| (\d+) \|[^|]*\| (.*) \|$", self.TEXT, re.MULTILINE)
        assert [int(number) for number, _ in rows] == [*range(1, 17), *range(18, 41)]
        assert all(text.strip() for _, text in rows)
        assert self.TEXT.count("tests/") == len(self.NAMED.findall(self.TEXT)) + 1

    @pytest.mark.parametrize("named", sorted(set(NAMED.findall(TEXT))), ids="::".join)
    def test_every_name(self, named):
        """A test that the page names exists."""
        file, group, name = named
        assert name.startswith("test_")
        body = ast.parse((ROOT / file).read_text()).body
        if group:
            (body,) = (each.body for each in body if getattr(each, "name", None) == group)
        assert name in {each.name for each in body if isinstance(each, ast.FunctionDef)}


class TestStateDrawing:
    """The drawing of the states says what the table says."""

    @pytest.fixture
    def draw(self, monkeypatch):
        monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
        from state_drawing import draw  # noqa: PLC0415  a part of the documentation

        return draw

    def test_every_move(self, draw):
        """Each move of the code's table has one arrow, and there is no other."""
        from flask_rawsocket import TRANSITIONS, ConnState  # noqa: PLC0415

        moves = {old and old.name: {n.name for n in new} for old, new in TRANSITIONS.items()}
        drawn = draw([each.name for each in ConnState], moves)
        arrows = re.findall(r'data-from="(\w+)" data-to="(\w+)"', drawn)
        expected = [(old, new) for old, following in moves.items() if old for new in following]
        assert sorted(arrows) == sorted(expected)
        assert re.findall(r'<path data-to="(\w+)"', drawn) == ["NEW"]
        assert re.findall(r">([A-Z]+)</text>", drawn) == [each.name for each in ConnState]

    def test_only_final_states_have_two_borders(self, draw):
        """A state that nothing follows is drawn with two borders."""
        drawn = draw(["A", "B", "C"], {None: {"A"}, "A": {"B", "C"}, "B": {"A"}, "C": set()})
        assert drawn.count("<rect") == 4
