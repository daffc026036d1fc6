"""What is said of the package is true of it, and what is optional may be missing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import flask_rawsocket

ROOT = Path(__file__).parent.parent
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = TOML["project"]
EXTRAS = PROJECT["optional-dependencies"]
GROUPS = TOML["dependency-groups"]
MAKEFILE = (ROOT / "Makefile").read_text()

MODULES = [
    *("flask_rawsocket", "flask_rawsocket.cli", "flask_rawsocket.errors"),
    *("flask_rawsocket.metrics", "flask_rawsocket.serving", "flask_rawsocket.sockinfo"),
    *("flask_rawsocket.streams", "flask_rawsocket.testing", "flask_rawsocket.testing.plugin"),
]
"""What is imported without any extra. The workers are gunicorn's."""

WITHOUT = """
import sys
for each in sys.argv[2].split():
    sys.modules[each] = None  # as if it were not installed
import importlib
for each in sys.argv[3].split():
    importlib.import_module(each)
import flask, flask_rawsocket
rawsocket = flask_rawsocket.RawSocket(flask.Flask("app"))
try:
    exec(sys.argv[1])
except (ImportError, RuntimeError) as exc:
    print(type(exc).__name__, exc, sep=": ")
else:
    print("works")
"""

MISSING = {
    "gunicorn": ("gunicorn", "flask_rawsocket.Worker", "ImportError"),
    "gevent": ("gevent", "flask_rawsocket.GeventWorker", "RuntimeError"),
    "waitress": ("waitress", "import flask_rawsocket.waitress", "ImportError"),
    "prometheus": (
        "prometheus_client",
        "flask_rawsocket.metrics.prometheus(rawsocket)",
        "ImportError",
    ),
    "otel": ("opentelemetry", "flask_rawsocket.metrics.opentelemetry(rawsocket)", "ImportError"),
    "websocket": ("websockets", "flask_rawsocket.streams.WebSocket", "RuntimeError"),
}
"""The module of each extra, what needs it, and what is raised where it is missing."""


def without(modules, statement="pass"):
    """Give what a program says that runs `statement` where `modules` cannot be imported."""
    command = [sys.executable, "-W", "error", "-c", WITHOUT, statement, modules, " ".join(MODULES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("extra", MISSING)
def test_an_extra_is_missing(extra):
    """Everything else can be imported, and one sentence says which extra installs it."""
    module, statement, kind = MISSING[extra]
    said = without(module, statement)
    assert said.startswith((f"{kind}: flask_rawsocket", f"{kind}: rawsocket."))
    assert re.search(rf"pip install ['\"]Flask-RawSocket\[{extra}\]['\"]$", said)
    assert "\n" not in said


@pytest.mark.slow
def test_all_extras_are_missing():
    """Nothing but Flask and Werkzeug is needed for what is not said to need more."""
    modules = [module for module, *_ in MISSING.values()]
    assert without(" ".join([*modules, "h2", "rich"])) == "works"


@pytest.mark.slow
def test_http2_is_missing(tmp_path):
    """Gunicorn says so itself, in one sentence, where it is asked for HTTP/2."""
    program = (
        "import sys; sys.modules['h2'] = None\n"
        "from gunicorn.app.wsgiapp import run\n"
        "sys.exit(run())\n"
    )
    options = ["-k", "flask_rawsocket.Worker", "--http-protocols", "h2,h1", "app:app"]
    done = subprocess.run(
        [sys.executable, "-c", program, *options, "-b", f"unix:{tmp_path}/s"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "h2" in done.stderr
    assert "gunicorn[http2]" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_extra():
    """Each extra has a test of its absence here; Rich's is in `ss/`, demo has no module."""
    assert set(EXTRAS) == {*MISSING, "http2", "cli", "demo"}


def test_the_version():
    """It is the distribution's, and that of the changelog's first release."""
    assert flask_rawsocket.__version__ == metadata.version("Flask-RawSocket") == PROJECT["version"]
    releases = re.findall(
        r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$",
        (ROOT / "CHANGELOG.md").read_text(),
        re.MULTILINE,
    )
    assert releases[0][0] == PROJECT["version"]


def test_the_pythons():
    """The classifiers are the Pythons on which the tests run; the oldest is the required one."""
    oldest = PROJECT["requires-python"].removeprefix(">=")
    others = re.search(r"^OTHERS \?= (.*)$", MAKEFILE, re.MULTILINE)[1].split()
    prefix = "Programming Language :: Python :: 3."
    said = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if each.startswith(prefix)]
    assert said == [oldest, *others]


def test_extras_are_for_users():
    """What developers need is in groups; the tests have every extra."""
    assert EXTRAS.keys().isdisjoint(GROUPS)
    tested = re.search(r"^EXTRAS := (.*)$", MAKEFILE, re.MULTILINE)[1].split(",")
    assert set(tested) == set(EXTRAS) - {"demo"}
    included = {each["include-group"] for each in GROUPS["dev"] if isinstance(each, dict)}
    assert included == {"test", "docs", "package"}


def test_the_addresses():
    """There is one for the documentation, the source, the issues and the changelog."""
    assert set(PROJECT["urls"]) == {"Documentation", "Source", "Issues", "Changelog"}
    assert all(each.startswith("https://") for each in PROJECT["urls"].values())
