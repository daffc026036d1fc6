"""The measures of the house: how far its parts reach into each other, and how long they may be.

``python tests/house.py`` prints what is above the limits, and fails where anything is.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

ACCESSES = 40
"""How many accesses to another object's private attributes there may be in all."""
FOREIGN_WRITES = 0
"""And how many of those may write what another package's class has declared."""
FILE_LINES = 300
CLASS_LINES = 250
FUNCTION_LINES = 40

SEAMS = {"_expected_100_continue"}
"""Names that we write of other projects' objects, each a seam: gunicorn's mark of an `Expect`."""

PACKAGE = Path(__file__).parent.parent / "flask_rawsocket"
OF_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}
"""These names are public; only their spelling is private."""


@dataclass
class Access:
    """``x._name`` in a file, where ``x`` is neither the object itself nor a module."""

    path: Path
    line: int
    text: str
    name: str
    writes: bool

    def __str__(self):
        how = "writes" if self.writes else "reads"
        return f"{where(self.path)}:{self.line}: {how} {self.text}"


def where(path):
    return path.relative_to(PACKAGE.parent)


def is_private(name):
    return name.startswith("_") and not name.endswith("_") and name not in OF_NAMED_TUPLES


def is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # its parent is no package
        return False


def modules_of(path, tree):
    """Give the names by which a file has imported modules."""
    package = [*path.parent.relative_to(PACKAGE.parent).parts]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(each.asname or each.name).partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            found |= {
                each.asname or each.name
                for each in node.names
                if is_module(f"{origin}.{each.name}")
            }
    return found


def is_own(owner, modules):
    """Tell whether `owner` is the object itself, its class, or a module."""
    match owner:
        case ast.Name(id=name):
            return name in {"self", "cls"} or name in modules
        case ast.Call(func=ast.Name(id="super")):
            return True
    return False


def accesses(path, tree):
    modules = modules_of(path, tree)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and is_private(node.attr)
            and not is_own(node.value, modules)
        ):
            writes = not isinstance(node.ctx, ast.Load)
            yield Access(path, node.lineno, ast.unparse(node), node.attr, writes)


def declared(body):
    """Give the names that the body of a class declares: its slots, attributes and methods."""
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__slots__")], value=slots):
                yield from (
                    each.value
                    for each in ast.walk(slots)
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                )
            case ast.Assign(targets=targets):
                yield from (each.id for each in targets if isinstance(each, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
                if name in {"__init__", "__new__"}:
                    yield from written_to_self(node)
            case ast.If(body=nested):  # such as `if TYPE_CHECKING:`
                yield from declared(nested)


def written_to_self(function):
    for node in ast.walk(function):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def owners(trees):
    """Give, for each private name, the packages whose classes declare it."""
    found = {}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for name in filter(is_private, declared(node.body)):
                    found.setdefault(name, set()).add(path.parent)
    return found


def too_long(path, tree):
    lines = len(path.read_text().splitlines())
    if lines > FILE_LINES:
        yield f"{where(path)}: {lines} lines; a file may have {FILE_LINES}"
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef():
                limit = CLASS_LINES
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                limit = FUNCTION_LINES
            case _:
                continue
        lines = node.end_lineno - node.lineno + 1
        if lines > limit:
            yield f"{where(path)}:{node.lineno}: {node.name} has {lines} lines; it may have {limit}"


def main():
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    owned = owners(trees)
    found = [each for path, tree in trees.items() for each in accesses(path, tree)]
    foreign = [
        each
        for each in found
        if each.writes
        and each.name not in SEAMS
        and each.path.parent not in owned.get(each.name, ())
    ]
    long = [line for path, tree in trees.items() for line in too_long(path, tree)]
    failed = bool(long)
    for limit, reached, what in (
        (ACCESSES, found, "accesses to another object's private attributes"),
        (FOREIGN_WRITES, foreign, "of them write what another package owns"),
    ):
        print(f"{len(reached)} {what}; {limit} may be.")
        if len(reached) > limit:
            failed = True
            print(*reached, sep="\n")
    print(f"{len(long)} files, classes and functions are too long.", *long, sep="\n")
    return failed


if __name__ == "__main__":
    sys.path.insert(0, str(PACKAGE.parent))
    sys.exit(main())
