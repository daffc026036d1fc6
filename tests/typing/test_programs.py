"""Users' programs under type checkers: what is right passes, and what is wrong is found."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PROGRAMS = ["program.py", "worker.py"]

pytestmark = pytest.mark.slow


@pytest.fixture(params=["mypy", "pyright"])
def check(request, tmp_path):
    """A function that checks a program, and gives the lines that the type checker complains of."""
    name = request.param
    pytest.importorskip(name, reason=f"needs {name}, which the extra `dev` has")
    command = [sys.executable, "-m", name]
    if name == "mypy":
        command += ["--strict", "--no-error-summary", "--cache-dir", str(tmp_path)]
    elif shutil.which("node") is None:
        pytest.skip("pyright needs Node.js, and there is none")
    else:
        command += ["--pythonpath", sys.executable]
        if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
            pytest.skip("pyright could not be downloaded")

    def check(program):
        done = subprocess.run(
            [*command, str(HERE / program)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=55,
            check=False,
        )
        assert done.stderr == ""
        found = re.findall(rf"{program}:(\d+):.* error: .*", done.stdout)
        assert bool(found) == bool(done.returncode), done.stdout
        return {int(line) for line in found}, done.stdout

    return check


@pytest.mark.parametrize("program", PROGRAMS)
def test_right(check, program):
    """Nothing is found in it."""
    lines, text = check(program)
    assert not lines, text


def test_wrong(check):
    """Every mistake is found, and nothing else."""
    source = (HERE / "wrong.py").read_text().splitlines()
    marked = {number for number, line in enumerate(source, 1) if line.endswith("# wrong")}
    lines, text = check("wrong.py")
    assert lines == marked, text
