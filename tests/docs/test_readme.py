"""The README on a package page, where there is no file beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]*)\)")


@pytest.fixture(scope="module")
def described():
    """The description of the package, as it is built into it."""
    pytest.importorskip("hatch_fancy_pypi_readme", reason="the extra dev is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "metadata"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    readme = json.loads(done.stdout)["readme"]
    assert readme["content-type"] == "text/markdown"
    return readme["text"]


def test_no_link_leads_nowhere(described):
    """What is linked has an address of its own; of links to files the text is left."""
    assert [target for _, target in LINK.findall(described) if "://" not in target] == []
    relative = [
        text
        for text, target in LINK.findall((ROOT / "README.md").read_text())
        if "://" not in target
    ]
    assert len(relative) > 10
    assert relative[0] in described


def test_what_it_tells(described):
    """It has what a reader of the page needs, and nothing about a checkout's commands."""
    assert described.startswith("# Flask-RawSocket\n")
    for heading in ("The first view", "Install", "What works where", "Documentation"):
        assert f"\n## {heading}\n" in described
    assert "$ make" not in described
