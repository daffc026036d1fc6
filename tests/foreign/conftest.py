"""The servers of other projects, each started when first asked for."""

import contextlib
import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

PACKAGES = {
    "cherrypy": "cherrypy",
    "eventlet-patched": "eventlet",
    "gunicorn_asgi": "gunicorn a2wsgi",
    "plain-gevent": "gevent",
    "plain-pywsgi": "gevent",
    "plain-pywsgi-patched": "gevent",
    "plain-waitress": "waitress",
    "plain-waitress-lookahead": "waitress",
    "uvicorn_a2wsgi": "uvicorn a2wsgi",
    "uvicorn_asgiref": "uvicorn asgiref",
    "uvicorn_wsgi": "uvicorn a2wsgi",
    "hypercorn_wsgi": "hypercorn",
    "daphne_asgiref": "daphne asgiref",
    "uwsgi": "pyuwsgi",
}
"""What each needs, where that is not the package of its name."""


def skip_without(name):
    """Skip the test where the server `name` is not installed, and say how to have it."""
    packages = PACKAGES.get(name, name)
    for each in packages.split():
        found = importlib.util.find_spec(each) or (
            each == "pyuwsgi" and shutil.which("uwsgi", path=str(Path(sys.executable).parent))
        )
        if not found:
            pytest.skip(f"pip install {packages}")


@pytest.fixture(scope="module")
def other_server(run_server):
    """A function that returns a running server by its name and transport."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(name, transport="tcp"):
            skip_without(name)
            if (name, transport) not in started:
                context = run_server(name, transport, app="handling:app")
                started[name, transport] = stack.enter_context(context)
            return started[name, transport]

        yield get
