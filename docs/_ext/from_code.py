"""The directives that write tables and drawings from the code.

``state-table``, ``state-diagram``, ``close-reasons``, ``close-reason-groups``, ``layers`` and
``tcp-info-table``: what they show is read from the code and from ``pyproject.toml`` when the
documentation is built. And the page that says where to look for what is checked: a file that it
names must exist.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from state_drawing import draw

from flask_rawsocket import TRANSITIONS, CloseReason, ConnState
from flask_rawsocket.sockinfo import field_table

log = logging.getLogger(__name__)

WITH_PATHS = "architecture"
"""The page whose paths are those of files of the package."""
PATH = re.compile(r"\w+/[\w/]*(\.py)?")


def _meaning(member):
    """Return the text that stands under `member` in the code."""
    documented = ModuleAnalyzer.for_module(type(member).__module__).find_attr_docs()
    return " ".join(documented[type(member).__name__, member.name]).strip()


def _plain(text):
    """Return `text` without the marks of code."""
    return text.replace("`", "")


def _name(member):
    return nodes.literal("", member.name)


def _table(head, rows, widths=None):
    """Return a table.

    Args:
        head: the titles of the columns.
        rows: the cells of each row, as lists of nodes.
        widths: the widths of the columns in per cent; None to let their contents decide.
    """
    table = nodes.table(classes=["colwidths-given"] if widths else [])
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=each) for each in widths or [1] * len(head)]
    group += nodes.thead("", _row([nodes.Text(each)] for each in head))
    group += nodes.tbody("", *(_row(cells) for cells in rows))
    table += group
    return table


def _row(cells):
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *each)) for each in cells))


def _listed(members):
    found = []
    for member in members:
        found += [nodes.Text(", ")] * bool(found) + [_name(member)]
    return found or [nodes.Text("nothing")]


class StateTable(SphinxDirective):
    """The states, what they mean, and what may follow each."""

    def run(self):
        rows = [
            (
                [_name(state)],
                [nodes.Text(_meaning(state))],
                _listed(each for each in ConnState if each in TRANSITIONS[state]),
            )
            for state in ConnState
        ]
        return [_table(("State", "Meaning", "May be followed by"), rows)]


class CloseReasons(SphinxDirective):
    """The reasons why a connection was closed."""

    def run(self):
        rows = []
        for each in CloseReason:
            if not each.is_group:
                meaning, setting = _plain(_meaning(each)).split(" Setting: ")
                cells = [_name(each)], [_name(each.group)], [nodes.Text(meaning)]
                rows.append((*cells, [nodes.Text(setting)]))
        return [_table(("Reason", "Group", "Meaning", "Setting"), rows)]


class CloseReasonGroups(SphinxDirective):
    """The groups of those reasons."""

    def run(self):
        groups = [each for each in CloseReason if each.is_group]
        meanings = [_plain(_meaning(each)).removeprefix("Group: ") for each in groups]
        rows = [
            ([_name(each)], [nodes.Text(text[0].upper() + text[1:])])
            for each, text in zip(groups, meanings, strict=True)
        ]
        return [_table(("Group", "Meaning"), rows)]


class StateDiagram(SphinxDirective):
    """The moves between the states, as a drawing."""

    def run(self):
        moves = {
            old and old.name: {each.name for each in following}
            for old, following in TRANSITIONS.items()
        }
        drawn = draw([each.name for each in ConnState], moves)
        # Wider than a phone, where it scrolls.
        text = f'<div class="state-diagram-container">{drawn}</div>'
        return [nodes.raw("", text, format="html")]


class Layers(SphinxDirective):
    """The layers of the package as import-linter checks them, and the first line of each module."""

    def run(self):
        root = Path(self.env.srcdir).parent
        settings = tomllib.loads((root / "pyproject.toml").read_text())
        contracts = settings["tool"]["importlinter"]["contracts"]
        (layers,) = (each["layers"] for each in contracts if each["type"] == "layers")
        rows = [
            (
                [nodes.Text(str(number))],
                [nodes.literal("", name)],
                _marked_up(_first_line(root, name)),
            )
            for number, layer in enumerate(layers, 1)
            for name in map(str.strip, layer.split("|"))
        ]
        return [_table(("Layer", "Module", "What it is"), rows)]


class TCPInfoTable(SphinxDirective):
    """Every field of ``TCPInfo``; those of Linux first, as the table has them."""

    def run(self):
        table = field_table()
        everywhere = max((row.systems for row in table), key=len)
        rows = [
            (
                [nodes.literal("", row.name)],
                [nodes.Text(row.unit)],
                [nodes.Text(row.since or "-")],
                [nodes.Text(row.meaning)],
                [nodes.Text("all" if row.systems == everywhere else ", ".join(row.systems))],
            )
            for row in table
        ]
        head = ("Field", "Unit", "Since", "Meaning", "Systems")
        return [_table(head, rows, widths=(27, 11, 11, 32, 19))]


def _first_line(root, module):
    path = root / "flask_rawsocket" / module
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.get_docstring(ast.parse(file.read_text())).splitlines()[0]


def _marked_up(text):
    """Return the nodes of a line of a docstring, in which backticks mark code."""
    parts = re.split(r"`+([^`]+)`+", text)
    return [
        nodes.literal("", part) if index % 2 else nodes.Text(part)
        for index, part in enumerate(parts)
    ]


def _check_paths(app, doctree):
    """Warn of each path on the page that the package does not have."""
    if app.env.docname != WITH_PATHS:
        return
    package = Path(app.srcdir).parent / "flask_rawsocket"
    for node in doctree.findall(nodes.literal):
        text = node.astext()
        if PATH.fullmatch(text) and not (package / text).exists():
            log.warning("flask_rawsocket/%s does not exist", text, location=node)


def setup(app):
    app.connect("doctree-read", _check_paths)
    app.add_directive("state-table", StateTable)
    app.add_directive("state-diagram", StateDiagram)
    app.add_directive("close-reasons", CloseReasons)
    app.add_directive("close-reason-groups", CloseReasonGroups)
    app.add_directive("layers", Layers)
    app.add_directive("tcp-info-table", TCPInfoTable)
    return {"version": "1", "parallel_read_safe": True}
