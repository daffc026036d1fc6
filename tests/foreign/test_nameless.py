"""Servers that show no socket: the error names them; each that is installed is run."""

from __future__ import annotations

import pytest
from flask import Flask

from flask_rawsocket import NoConnectionError, RawSocket, current_conn

CURE = "run the app with `gunicorn -k flask_rawsocket.Worker` or `flask rawsocket run`"

ASGI = "is an ASGI server, and shows a WSGI application no connection"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uvicorn_a2wsgi", f"uvicorn, through a2wsgi, {ASGI}"),
        ("uvicorn_asgiref", f"uvicorn, through asgiref's WsgiToAsgi, {ASGI}"),
        ("uvicorn_wsgi", f"uvicorn, through a2wsgi, {ASGI}"),
        ("hypercorn_wsgi", f"hypercorn {ASGI}"),
        ("daphne_asgiref", f"daphne, through asgiref's WsgiToAsgi, {ASGI}"),
        ("gunicorn_asgi", f"gunicorn's `asgi` worker, through a2wsgi, {ASGI}"),
        ("granian", "granian does not expose its socket"),
        ("tornado", "Tornado does not expose its socket"),
        ("bjoern", "bjoern does not expose its socket"),
    ],
)
def test_a_server_is_named(other_server, name, text):
    """A view that asks for its connection is told whose fault it is, and what to do."""
    server = other_server(name)
    with server.connect() as client:
        found = client.request("/no-connection", "Connection: close").json
    assert found["error"] == "NoConnectionError"
    assert text in found["text"]
    assert CURE in found["text"]


def said_of(environ):
    """Return what a view is told whose request has `environ`, on a server that is none we know."""
    app = Flask(__name__)
    RawSocket(app)
    with app.request_context(environ), pytest.raises(NoConnectionError) as caught:
        current_conn._get_current_object()
    return str(caught.value)


ENVIRON = {"REQUEST_METHOD": "GET", "SERVER_NAME": "a", "SERVER_PORT": "80", "PATH_INFO": "/"}
ENVIRON |= {"wsgi.url_scheme": "http"}


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"mod_wsgi.version": (4, 9, 4), "SERVER_SOFTWARE": "Apache"}, "mod_wsgi does not"),
        ({"meinheld.client": object()}, "meinheld does not"),
        ({"SERVER_SOFTWARE": "own/1.0"}, "This request's server, own/1.0, does not"),
        ({"asgi.scope": {}}, "is an ASGI server"),
        ({}, "This request's server does not"),
    ],
)
def test_a_server_that_calls_from_c(more, text):
    """It is known by what it puts into the environ."""
    found = said_of(ENVIRON | more)
    assert text in found
    assert CURE in found


def test_the_test_client():
    """Flask's test client is told what to use in a test."""
    app = Flask(__name__)
    RawSocket(app)
    app.add_url_rule("/", view_func=lambda: str(current_conn.id))
    app.testing = True
    with pytest.raises(NoConnectionError, match="`rawsocket_client`"):
        app.test_client().get("/")
