"""Hooks that nobody calls: the log says so, once, and how to mend it."""

from __future__ import annotations

import logging

import pytest
from accepting import dial, tcp_listener
from flask import Flask
from servers import wait_for

from flask_rawsocket import RawSocket
from flask_rawsocket import globals as face
from flask_rawsocket._tracking import hooks as hooks_module
from flask_rawsocket._tracking import states
from flask_rawsocket._tracking.unheard import Unheard

NEVER_SET_UP = "was not set up on an application. Call init_app(app)"
NO_SERVER = "hooks need a server of Flask-RawSocket. Run the app with `gunicorn -k flask_rawsocket"


@pytest.fixture
def unheard(monkeypatch):
    """A process that has heard of no hook so far."""
    found = Unheard()
    for module in face, hooks_module, states:
        monkeypatch.setattr(module, "unheard", found)
    return found


@pytest.fixture
def said(caplog):
    """Ask for the warnings so far."""
    caplog.set_level(logging.WARNING, "flask_rawsocket")
    return lambda: [each.getMessage() for each in caplog.records]


def request_comes(tracker, stack):
    """Have a request's first byte come in on a connection of a server of ours."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.sendall(b"x")
    assert sock.recv(1) == b"x"


def decorated(rawsocket, kind="on_state_change"):
    """Hook a function on `rawsocket`."""

    def hook(*_):
        pass

    getattr(rawsocket, kind)(hook)
    return rawsocket


@pytest.mark.parametrize("kind", ["on_state_change", "on_shutdown"])
def test_a_rawsocket_that_was_never_set_up(unheard, said, tracker, stack, kind):
    """The first request says whose hook is not called, and the next one says nothing."""
    rawsocket = decorated(RawSocket(), kind)
    request_comes(tracker, stack)
    (text,) = said()
    assert text.startswith("The hook decorated.<locals>.hook is never called")
    assert NEVER_SET_UP in text
    request_comes(tracker, stack)
    another = decorated(RawSocket(), kind)
    request_comes(tracker, stack)
    assert len(said()) == 1
    assert not unheard.may_lack_set_up
    assert rawsocket is not another


@pytest.mark.parametrize("late", [True, False])
def test_a_rawsocket_that_was_set_up(unheard, said, tracker, stack, late):
    """Before its hooks were given or after: nothing is said, and nothing asked at a request."""
    rawsocket = RawSocket() if late else RawSocket(Flask("set up"))
    decorated(rawsocket)
    if late:
        rawsocket.init_app(Flask("set up late"))
    request_comes(tracker, stack)
    assert said() == []
    assert not unheard.may_lack_set_up


def test_no_hooks(unheard, said, tracker, stack):
    """A RawSocket without hooks misses nothing, on whatever server."""
    rawsocket = RawSocket()
    request_comes(tracker, stack)
    app = Flask("without hooks")
    rawsocket.init_app(app)
    app.test_client().get("/", environ_overrides={"SERVER_SOFTWARE": "other/1.0"})
    assert said() == []
    assert not unheard.may_lack_server


def test_a_rawsocket_that_is_gone(unheard, said, tracker, stack):
    """Its hooks are gone with it."""
    decorated(RawSocket())
    request_comes(tracker, stack)
    assert said() == []


def test_a_server_without_a_socket(unheard, said):
    """The first request on it says so, and no other; Flask's test client is not a server."""
    app = Flask("elsewhere")
    rawsocket = decorated(RawSocket(app))
    client = app.test_client()
    client.get("/")
    assert said() == []
    for _ in range(2):
        client.get("/", environ_overrides={"SERVER_SOFTWARE": "other/1.0"})
    (text,) = said()
    assert NO_SERVER in text
    assert not unheard.may_lack_server
    assert rawsocket.connections is not None


@pytest.mark.parametrize("name", ["plain-werkzeug", "plain-sync", "plain-gthread"])
def test_on_unmodified_servers(run_server, name):
    """The contract's application has hooks: after many requests the log has said so once."""
    with run_server(name) as server:
        for _ in range(3):
            with server.connect() as client:
                assert client.request("/", "Connection: close").status == 200
        wait_for(lambda: NO_SERVER in server.log.read_text(), "the warning")
        assert server.log.read_text().count(NO_SERVER) == 1


APP = """
from flask import Flask
from flask_rawsocket import RawSocket

rawsocket = RawSocket()
app = Flask(__name__)

@rawsocket.on_state_change
def changed(connection, old, new):
    pass

@app.get("/")
def index():
    return "hello"
"""


@pytest.mark.parametrize("name", ["werkzeug", "sync", "gthread"])
def test_on_our_servers(run_server, tmp_path, name):
    """An application that has forgotten `init_app` is told, once; the contract's has not."""
    (tmp_path / "forgetful.py").write_text(APP)
    env = {"PYTHONPATH": str(tmp_path)}
    with run_server(name, app="forgetful:app", env=env) as server:
        for _ in range(3):
            with server.connect() as client:
                assert client.request("/", "Connection: close").body == b"hello"
        wait_for(lambda: NEVER_SET_UP in server.log.read_text(), "the warning")
        assert server.log.read_text().count("The hook changed is never called") == 1
    with run_server(name) as server, server.connect() as client:
        assert client.request("/", "Connection: close").status == 200
        assert "is never called" not in server.log.read_text()
