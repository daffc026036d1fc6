"""The names of worker classes, and what gunicorn's user reads where one is misspelt."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flask_rawsocket import _names, workers


@pytest.mark.parametrize("name", _names.WORKERS)
def test_each_worker_is_there(name):
    """Each name of the table is a class of `flask_rawsocket.workers`."""
    assert isinstance(getattr(workers, _names.WORKERS[name]), type)


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        (
            "flask_rawsocket.Wroker",
            "flask_rawsocket has no worker class Wroker: did you mean Worker?",
        ),
        (
            "flask_rawsocket.workers.SyncWorkr",
            "flask_rawsocket.workers has no worker class SyncWorkr: did you mean SyncWorker?",
        ),
        (
            "flask_rawsocket.workers.OtherWorker",
            "has no worker class OtherWorker: it has Worker, GeventPyWSGIWorker, GeventWorker,",
        ),
    ],
)
def test_a_misspelt_worker(uri, sentence, tmp_path):
    """Gunicorn prints one clear sentence, and ends; there is no traceback."""
    command = [sys.executable, "-m", "gunicorn", "-k", uri, "-b", f"unix:{tmp_path}/s", "a:app"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_other_names():
    """What cannot be meant as a worker is an AttributeError, so that hasattr() works."""
    assert isinstance(_names.no_such_name("flask_rawsocket", "workers"), AttributeError)
    assert isinstance(_names.no_such_name("flask_rawsocket", "connections"), AttributeError)
