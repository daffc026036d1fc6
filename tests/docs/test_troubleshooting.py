"""The page "Troubleshooting" has every text that the package raises or logs, and no other.

The texts are gathered from the code: the first string that an exception is made with, and that a
warning or an error is logged with. What is filled in is `...`, in the code and on the page; an
entry of the page that ends in `...` may leave out the rest of the text.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "flask_rawsocket"
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()

RAISED = re.compile(r"\w*(?:Error|Exception)|BadRequest|Forbidden")
"""What is called to make an exception."""
LOGGED = {"warning", "error", "exception", "critical", "warn", "_warn", "complain"}
"""What is called to log or to warn."""
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
ENTRY = re.compile(r"^- (.*?)(?=^- |^#|^$)", re.MULTILINE | re.DOTALL)
ENOUGH = 7
"""How many letters a text has to have of its own; one with fewer says what another one says."""


def literal(node, constants):
    """Return the text of an expression, with `...` for what is filled in; None if it has none."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(
                each.value if isinstance(each, ast.Constant) else "..." for each in parts
            )
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            both = literal(left, constants), literal(right, constants)
            return "".join(each or "..." for each in both) if any(both) else None
        case ast.Name(id=name):
            return constants.get(name)
    return None


def constants_of(tree):
    """Return the names of a module that stand for a text."""
    found = {}
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                found[name] = literal(value, {})
    return found


def texts_of(source):
    """Return what a module raises and logs, each text with the line that it is in."""
    tree = ast.parse(source)
    constants = constants_of(tree)
    found = {}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[_, *_]):
                for text in said(name, node.args, constants):
                    if len(re.sub(r"\W", "", text)) >= ENOUGH:
                        found.setdefault(plain(text), node.lineno)
    return found


def said(name, arguments, constants):
    """Return the texts that a call of `name` says: what it is logged or raised with first."""
    if name in LOGGED:
        arguments = arguments[:1]
    elif not RAISED.fullmatch(name):
        return []
    for each in arguments:
        choices = [each.body, each.orelse] if isinstance(each, ast.IfExp) else [each]
        texts = [text for choice in choices if (text := literal(choice, constants))]
        if texts:
            return [re.sub(r"%[rsdg]", "...", text) if name in LOGGED else text for text in texts]
    return []


def plain(text):
    """Return `text` in one line."""
    return re.sub(r"\s+", " ", text).strip()


def entries(page):
    """Return the texts that the items of lists begin with: code, up to the first colon."""
    found = []
    for item in ENTRY.findall(page):
        rest = item
        while code := CODE.match(rest):
            found.append(plain(code[2]))
            rest = rest[code.end() :].removeprefix(",").lstrip()
        assert rest.startswith(":") or not CODE.match(item), f"no colon behind {item[:60]!r}"
    return found


def fits(entry, text):
    """Tell whether `entry` is `text`, or how it begins."""
    return text == entry or (entry.endswith("...") and text.startswith(entry.removesuffix("...")))


TEXTS = {
    text: f"{path.relative_to(ROOT)}:{line}"
    for path in sorted(PACKAGE.rglob("*.py"))
    for text, line in texts_of(path.read_text()).items()
}
ENTRIES = entries(PAGE)


def test_every_text_has_an_entry():
    """Whatever the package says can be looked up."""
    missing = [
        f"{where}: {text}"
        for text, where in TEXTS.items()
        if not any(fits(each, text) for each in ENTRIES)
    ]
    assert "\n".join(missing) == ""


def test_every_entry_has_a_text():
    """The page has nothing that the package no longer says, and no entry fits everything."""
    unused = [each for each in ENTRIES if not any(fits(each, text) for text in TEXTS)]
    assert "\n".join(unused) == ""
    assert [each for each in ENTRIES if len(re.sub(r"\W", "", each)) < ENOUGH] == []
    assert len(set(ENTRIES)) == len(ENTRIES)


def test_every_entry_says_something():
    """Behind each text there is a cause or a cure."""
    for item in ENTRY.findall(PAGE):
        if CODE.match(item):
            text = re.split(r"`:\s", item, maxsplit=1)[1]
            assert len(text) > len("Say so."), item


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('raise ValueError(f"{x!r} is not a number")', ["... is not a number"]),
        ('raise OSError(errno.EBADF, "the socket is closed")', ["the socket is closed"]),
        ('log.warning("%s is not a setting", key)', ["... is not a setting"]),
        ('TEXT = "the hook %r failed"\nlog.error(TEXT, x)', ["the hook ... failed"]),
        ('raise X.BadRequest("one is bad" if a else "two is bad")', ["one is bad", "two is bad"]),
        ('return some.TypeError("so it " + x + " ends")', ["so it ... ends"]),
        ('print("not an error text")', []),
        ('log.warning(text, "only filled in")', []),
    ],
)
def test_gathering(source, found):
    """The texts of a module are found."""
    assert list(texts_of(source)) == found


def test_reading():
    """The entries of a page are found."""
    page = "- `one thing`, ``two `x` ...``: this.\n- `more\n  of it`: that\n\n- other: `x`\n"
    assert entries(page) == ["one thing", "two `x` ...", "more of it"]
