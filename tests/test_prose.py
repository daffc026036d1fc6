"""Turns of phrase that came up again and again, and that no English reader would write.

They are looked for in docstrings, comments and string literals of the package, and in the docs.
"""

from __future__ import annotations

import ast
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "flask_rawsocket").rglob("*.py"))
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted([*DOCS.glob("*.md"), *DOCS.glob("api/*.md")])]

UNWANTED = {
    r"\AGives? ": "a docstring says Return",
    r"^\s*#\s*Who(?:ever)? ": "a sentence has a subject: a caller, a thread, whatever reads it",
    r"(?<![Tt]here )\bis no (?:number|handler|view|str|list|URL|coroutine|id|name|socket)\b": (
        "is not a ..."
    ),
    r"\bamid\b": "during, in the middle of, while",
    r"\bwhose doing\b": "what caused it",
    r"\bnobody's business\b": "is ignored",
    r"\bunsays\b": "takes back",
    r"\bNor keep\b": "and does not keep",
}
"""What is not written, and what is instead."""

PATTERNS = {re.compile(each, re.MULTILINE): instead for each, instead in UNWANTED.items()}


def texts_of(path):
    """Give the texts that a person wrote in a source file, each with its line."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    with path.open() as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def hits(path):
    """Give the lines of a file in which an unwanted phrase stands."""
    texts = texts_of(path) if path.suffix == ".py" else [(1, path.read_text())]
    for line, text in texts:
        for pattern, instead in PATTERNS.items():
            for found in pattern.finditer(text):
                where = line + text.count("\n", 0, found.start())
                yield f"{path.relative_to(ROOT)}:{where}: {found[0].strip()!r}: {instead}"


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_prose(path):
    """None of these phrases is in the file."""
    assert "\n".join(hits(path)) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Give the name.", True),
        ("Tell it.\nGive it time.", False),
        ("It gives the name.", False),
        ("# Who asks is told.", True),
        ("It is no socket of ours", True),
        ("there is no socket", False),
        ("amid a response", True),
    ],
)
def test_the_list(text, found):
    """The patterns find what they are for, and leave alone what only looks like it."""
    assert any(pattern.search(text) for pattern in PATTERNS) is found
