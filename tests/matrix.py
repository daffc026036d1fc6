"""``make matrix``: which server can do what, each cell from a run.

    python tests/matrix.py          print the table for the packages of this Python
    python tests/matrix.py --write  and keep it, in docs/matrix.json and in the docs' tables
    python tests/matrix.py --also   and keep where it differs from the table, below that

`probing.py` has the probes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import sys
import tempfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from certificates import make_certificate
from probing import ROWS
from servers import running

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "docs" / "matrix.json"
DOCS = ROOT / "docs" / "what-works-where.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- matrix: made by make matrix -->\n", "<!-- end of matrix -->\n"
NOT_THERE = ""
"""The cell of what this server has no transport for."""

ALL_ROWS = [row for rows in ROWS.values() for row in rows]
README_COLUMNS = (
    "gthread",
    "sync",
    "gevent",
    "waitress",
    "werkzeug",
    "plain-gthread",
    "plain-waitress",
)
README_ROWS = [
    "`current_conn`: key, addresses, socket, age",
    "`tcp_info()` and its like",
    "a UNIX peer: `peer_credentials()`, `require_peer()`",
    "`is_disconnected()`, and what asks it: `checkpoint()` ...",
    "`on_disconnect()`",
    "states, `on_state_change`, `close_reason`",
    "`hijack()`",
    "`stream()`, `events()`",
    "`websocket()`, with the extra `websocket`",
    "a UNIX peer's key is its `REMOTE_ADDR` too",
    "a silent connection holds no thread",
]

NAMES = {
    "python": "Python",
    "flask": "Flask",
    "werkzeug": "Werkzeug",
    "gunicorn": "gunicorn",
    "gevent": "gevent",
    "waitress": "waitress",
}
"""What the table depends on: the packages, and how they write their names."""

_GUNICORN_OPTIONS = "--proxy-protocol", "auto", "--proxy-allow-from", "*"
_PROXY = {"CONTRACT_RAWSOCKET_PROXY_PROTOCOL": "auto"}
_ENV = {"CONTRACT_RAWSOCKET_HEADER_TIMEOUT": "1", "CONTRACT_RAWSOCKET_SAVE_SYN": "true"}


@dataclass(frozen=True)
class Column:
    """A server: what the table calls it, and how it is started."""

    name: str
    title: str
    options: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    transports: tuple[str, ...] = ("tcp", "unix", "tls")

    @contextlib.contextmanager
    def running(self, transport, folder, certificate):
        """Run it."""
        options = list(self.options)
        speaks = "gthread" in self.name or self.name == "gevent"
        if transport == "tls" and speaks and _has("h2"):
            options += ["--http-protocols", "h2,h1"]
        where = folder / f"{self.name}-{transport}"
        env = _ENV | self.env
        with running(
            self.name, transport, where, certificate, *options, env=env, app="matrix:app"
        ) as server:
            yield server


COLUMNS = [
    Column("gthread", "`gunicorn -k` `flask_rawsocket.Worker`", _GUNICORN_OPTIONS),
    Column("sync", "`gunicorn -k` `flask_rawsocket.SyncWorker`", _GUNICORN_OPTIONS),
    Column("gevent", "`gunicorn -k` `flask_rawsocket.GeventWorker`", _GUNICORN_OPTIONS),
    Column(
        "gevent_pywsgi", "`gunicorn -k` `flask_rawsocket.GeventPyWSGIWorker`", _GUNICORN_OPTIONS
    ),
    Column("pywsgi", "`flask_rawsocket.pywsgi`", env=_PROXY),
    Column("werkzeug", "`flask rawsocket run`", env=_PROXY),
    Column("waitress", "`flask_rawsocket.waitress`", env=_PROXY, transports=("tcp", "unix")),
    Column("plain-gthread", "gunicorn `gthread`", _GUNICORN_OPTIONS),
    Column("plain-sync", "gunicorn `sync`", _GUNICORN_OPTIONS),
    Column("plain-gevent", "gunicorn `gevent`", _GUNICORN_OPTIONS),
    Column("plain-gevent_pywsgi", "gunicorn `gevent_pywsgi`"),
    Column("plain-werkzeug", "`flask run`"),
    Column("plain-waitress", "waitress", transports=("tcp", "unix")),
    Column("cheroot", "cheroot"),
    Column("plain-pywsgi", "`gevent.pywsgi`"),
    Column("eventlet", "`eventlet.wsgi`", transports=("tcp", "tls")),
    Column("wsgiref", "`wsgiref`", transports=("tcp",)),
    Column("uwsgi", "uWSGI", transports=("tcp", "unix")),
]


def _has(package):
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def probe(column, folder, certificate):
    """Return the cells of a server, by row."""
    cells = {}
    for transport, rows in ROWS.items():
        if transport not in column.transports:
            cells |= dict.fromkeys(rows, NOT_THERE)
            continue
        with column.running(transport, folder, certificate) as server:
            for row, try_it in rows.items():
                cells[row] = try_it(server)
    return cells


def versions():
    """Return what was run."""
    found = {each: _has(each) for each in NAMES}
    return {k: v for k, v in (found | {"python": platform.python_version()}).items() if v}


def table(cells, rows=None, columns=None):
    """Return the table as Markdown: a row for each ability, a column for each server."""
    shown = [each for each in COLUMNS if each.name in cells and each.name in (columns or cells)]
    lines = [["What", *(each.title for each in shown)], ["---"] * (len(shown) + 1)]
    lines += [[row, *(cells[each.name][row] for each in shown)] for row in rows or ALL_ROWS]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def differences(cells, kept):
    """Return a line for each cell that is not as it was kept."""
    return [
        f"{name}: {row}: {cell or 'not run'}, not {kept[name][row]}"
        for name, rows in cells.items()
        for row, cell in rows.items()
        if kept[name][row] != cell
    ]


def named(versions):
    """Return what was run, as a sentence has it."""
    return ", ".join(f"{NAMES[what]} {version}" for what, version in versions.items())


def runs(kept):
    """Return the list of what was run, and what was different where."""
    lines = [f"- {named(kept['versions'])}: the table"]
    for each in kept["also"]:
        lines.append(f"- {named(each['versions'])}: {'but for' if each['but'] else 'the same'}")
        lines += [f"  - {line}" for line in each["but"]]
    return "\n".join(lines) + "\n"


def pages(kept):
    """Return each page's text with the tables of what is kept."""
    cells = kept["cells"]
    whole = table(cells) + "\nRun with\n\n" + runs(kept)
    some = table(cells, README_ROWS, README_COLUMNS)
    return {page: put(page, text) for page, text in ((DOCS, whole), (README, some))}


def put(page, made):
    """Return the text of `page` with what was made between its marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    return f"{before}{BEGIN}\n{made}\n{END}{rest.partition(END)[2]}"


def keep(kept):
    """Keep the record, and put the tables where the docs have them."""
    RECORD.write_text(json.dumps(kept, indent=1) + "\n")
    for page, text in pages(kept).items():
        page.write_text(text)


def probe_all(columns):
    """Return the cells of all servers, each of which runs here."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        certificate = make_certificate(folder)
        return {each.name: probe(each, folder, certificate) for each in columns}


def main(arguments):
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--also", action="store_true")
    parser.add_argument("--servers", nargs="+", choices=[each.name for each in COLUMNS])
    options = parser.parse_args(arguments)
    if options.also and versions() == json.loads(RECORD.read_text())["versions"]:
        print("The table is of these very versions.")
        return
    cells = probe_all([each for each in COLUMNS if each.name in (options.servers or each.name)])
    print(named(versions()) + "\n\n" + table(cells))
    if options.write:
        keep({"versions": versions(), "cells": cells, "also": []})
    elif options.also:
        kept = json.loads(RECORD.read_text())
        but = differences(cells, kept["cells"])
        kept["also"].append({"versions": versions(), "but": but})
        keep(kept)
        print("\n".join(but) or "Every cell is the table's.")


if __name__ == "__main__":
    main(sys.argv[1:])
