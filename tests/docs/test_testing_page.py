"""The page "Testing", in an environment that has only Flask-RawSocket and pytest."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "testing.md").read_text()
BLOCK = re.compile(r"^```python\n(?:# ([\w.]+\.py)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.slow


def pip(python, *arguments):
    """Run pip; skip the test where it cannot have what it needs, as without a network."""
    command = [python, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=150, check=False, cwd=ROOT
    )
    if done.returncode:
        pytest.skip(f"pip {arguments[0]} fails here: {done.stderr.strip().splitlines()[-1]}")


@pytest.mark.timeout(400)
def test_in_a_fresh_environment(tmp_path):
    """All of its tests pass, and the one that stops with its client takes four lines."""
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), ".")
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    pip(python, "install", str(wheel), "pytest")
    suite = tmp_path / "suite"
    suite.mkdir()
    for name, text in BLOCK.findall(PAGE):
        (suite / (name or "app.py")).write_text(text)
    done = subprocess.run(
        [python, "-W", "error", "-m", "pytest", "-q", "-W", "error"],
        cwd=suite,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    written = len(re.findall(r"^def test_", PAGE, re.MULTILINE))
    assert written >= 8
    assert f"{written} passed" in done.stdout, done.stdout + done.stderr
    lines = (suite / "test_leaving.py").read_text().split("\n\n\n")[0].strip().splitlines()
    assert len(lines) == 4
