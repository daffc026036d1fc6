"""The README on a package page, where there is no file beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]*)\)")


@pytest.fixture(scope="module")
def described():
    """The description of the package, as it is built into it."""
    pytest.importorskip("hatch_fancy_pypi_readme", reason="the group package is not installed")
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


def test_every_link_has_an_address(described):
    """What leads to a file of the checkout leads to the same file of the repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    files = project["urls"]["Source"] + "/blob/main/"
    written = [target for _, target in LINK.findall((ROOT / "README.md").read_text())]
    expected = [each if "://" in each else files + each for each in written]
    assert len([each for each in written if "://" not in each]) > 10
    assert [target for _, target in LINK.findall(described)] == expected


def test_nothing_is_lost(described):
    """All else is as it is in the README."""
    assert LINK.sub(r"\1", described) == LINK.sub(r"\1", (ROOT / "README.md").read_text())
