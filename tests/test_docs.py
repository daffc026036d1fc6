"""Every code block of the README and of ``docs/`` is run, as `pages.py` says.

What cannot be run is a ``text`` block, above which a comment gives the reason.
"""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib

import pytest
from pages import FILE, ROOT, LacksProgramError, Page, blocks

import flask_rawsocket
from flask_rawsocket import sockinfo, testing

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted([*DOCS.glob("*.md"), *DOCS.glob("api/*.md")])]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"\{[\w-]+\}.*")
"""What Sphinx runs."""
REASON = re.compile(r"<!-- not run: \S.* -->\n(?=```text\n(?!# [\w.]+\n))")
"""What stands above a block that is not run."""


def name_of(path):
    """Return the name of a page, as a test's id."""
    return str(path.relative_to(ROOT)).removeprefix("docs/")


@pytest.fixture
def page(tmp_path, certificate):
    """A page's folder; its server is ended whatever happens."""
    found = Page(tmp_path, certificate)
    yield found
    found.close()


@pytest.mark.timeout(180)  # a page has many commands, and starts a server for most
@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_blocks(path, page):
    """Every block does what the page says; what lacks its program is named, and the rest is run."""
    lacking = set()
    for language, text in blocks(path):
        if file := FILE.match(text):
            page.file(file[1], text)
        elif language in {"python", "console"}:
            try:
                getattr(page, language)(text)
            except LacksProgramError as exc:
                lacking.add(str(exc))
        else:
            assert language == "text" or DIRECTIVE.fullmatch(language), f"who runs {language!r}?"
    if lacking:
        pytest.skip(f"all is run but what needs {', '.join(sorted(lacking))}")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_what_is_not_run(path):
    """Above a block that is not run a comment says why."""
    texts = [text for language, text in blocks(path) if language == "text"]
    assert len(REASON.findall(path.read_text())) == sum(not FILE.match(each) for each in texts)


def test_there_are_blocks():
    """The fences are found: without that every page would pass."""
    languages = [language for path in PAGES for language, _ in blocks(path)]
    assert languages.count("python") > 10
    assert languages.count("console") > 20


def anchors(path):
    """Return what a forge calls the headings of a page, and Sphinx too."""
    headings = re.findall(r"^#+ (.*)", FENCED.sub("", path.read_text()), re.MULTILINE)
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", each).strip().lower() for each in headings]
    return {re.sub(r"[^\w -]", "", each).replace(" ", "-") for each in texts}


@pytest.mark.parametrize("path", [*PAGES, *ROOT.glob("[C-S]*.md")], ids=name_of)
def test_links_to_files(path):
    """A link to a file of the checkout leads to one, and to a heading that it has."""
    links = re.findall(r"\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)", FENCED.sub("", path.read_text()))
    for target, anchor in links:
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


@pytest.mark.parametrize(
    "module", [flask_rawsocket, sockinfo, testing], ids=lambda each: each.__name__
)
def test_public_names(module):
    """The API's pages have every public name."""
    page = "\n".join(each.read_text() for each in (ROOT / "docs" / "api").glob("*.md"))
    listed = set(re.findall(r"^\.\. (?:auto)?\w+:: ([\w.]+)", page, re.MULTILINE))
    names = set(module.__all__) - {"sockinfo"}  # a module, which has a section
    assert names - {each.rpartition(".")[2] for each in listed} == set()


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_no_private_names(path):
    """No page tells anybody to use a private name."""
    assert re.findall(r"flask_rawsocket(?:\.\w+)*\._\w+", path.read_text()) == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_in_running_text(path):
    """Commands, extras and settings that stand in a sentence exist."""
    text = FENCED.sub("", path.read_text())
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"`pip install [^`]*\[([\w,]+)\]", text):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])
    known = set(re.findall(r"`(RAWSOCKET_\w+)`", (DOCS / "configuration.md").read_text()))
    assert set(re.findall(r"RAWSOCKET_[A-Z_]*[A-Z]", text)) <= known


@pytest.mark.parametrize(
    "path", [each for each in PAGES if each.parent != DOCS / "api"], ids=name_of
)
def test_plain_markdown(path):
    """A page can be read where nobody runs Sphinx: it has no roles and no colon fences."""
    assert re.findall(r"\{[\w:]+\}`|^:::", FENCED.sub("", path.read_text()), re.MULTILINE) == []


def test_extras():
    """The extras that are for users are on the page that says how to install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    page = (ROOT / "docs" / "tutorial.md").read_text()
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
