"""The matrix: some of its columns are tried again, and its tables are those of its record."""

from __future__ import annotations

import json

import pytest
from matrix import COLUMNS, RECORD, differences, pages, probe

pytestmark = pytest.mark.slow

KEPT = json.loads(RECORD.read_text())
FAST = ["gthread", "gevent", "waitress", "werkzeug", "plain-gthread"]


@pytest.mark.parametrize("name", FAST)
def test_cells(tmp_path, certificate, name):
    """What a server can do is what the table says."""
    (column,) = [each for each in COLUMNS if each.name == name]
    assert differences({name: probe(column, tmp_path, certificate)}, KEPT["cells"]) == []


@pytest.mark.parametrize("page", pages(KEPT), ids=lambda page: page.name)
def test_tables(page):
    """The docs' tables are made of the record; ``make matrix`` writes both."""
    assert page.read_text() == pages(KEPT)[page]


def test_no_cell_is_a_failure():
    """A cell is "yes", "-", or one of the few words on how."""
    words = {"yes", "-", "", "yes, no IDLE", "one request each", "no thread", "a thread each"}
    words |= {"always closes", "on Control-C", "without states"}
    assert {cell for rows in KEPT["cells"].values() for cell in rows.values()} <= words
