"""`RawSocket` and what it hands out, where no server is needed."""

from __future__ import annotations

import re
import socket
from dataclasses import astuple

import pytest
from flask import Flask

from flask_rawsocket import Connection, ConnState, NoConnectionError, RawSocket, current_conn
from flask_rawsocket._tracking.settings import Settings
from flask_rawsocket._tracking.tracker import ConnectionTracker, process_tracker


@pytest.fixture
def pair():
    """Two connected sockets."""
    with socket.socket() as listening, socket.socket() as client:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        client.connect(listening.getsockname())
        accepted, _ = listening.accept()
        with accepted:
            yield client, accepted


@pytest.mark.parametrize("view", ["values", "items", "keys"])
def test_views_of_the_map_are_snapshots(pair, view):
    """A connection that goes while somebody iterates over the map does no harm."""
    tracker = ConnectionTracker()
    one, two = (
        Connection(
            sock,
            tracker,
            family=sock.family,
            remote_address=sock.getpeername(),
            local_address=sock.getsockname(),
        )
        for sock in pair
    )
    tracker.opened(one)
    tracker.opened(two)
    found = iter(getattr(tracker.connections, view)())
    next(found)
    tracker.closed(two)
    assert len(list(found)) <= 1
    tracker.closed(one)


def test_set_up_twice():
    """A second set-up of one application says what to do."""
    app = Flask("twice")
    rawsocket = RawSocket(app)
    assert app.extensions["rawsocket"] is rawsocket
    with pytest.raises(RuntimeError, match="call init_app once"):
        rawsocket.init_app(app)
    with pytest.raises(RuntimeError, match="call init_app once"):
        RawSocket(app)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("HEADER_TIMEOUT", each) for each in ["10", 0, -1, True, float("inf"), float("nan")]),
        *(("STOP_TIMEOUT", each) for each in ["5", 0, -1, True, float("inf"), float("nan")]),
        *(("MIN_BODY_RATE", each) for each in ["240", -1, True, float("inf"), float("nan")]),
        *(("MIN_RESPONSE_RATE", each) for each in ["240", -1, True, float("inf")]),
        *(("RATE_GRACE", each) for each in ["5", -1, True, None, float("inf")]),
        *(("UNIX_REMOTE_ADDR", each) for each in ["False", 0, None]),
        *(("SAVE_SYN", each) for each in ["yes", 1, None]),
        *(("PROXY_PROTOCOL", each) for each in ["v3", True, None]),
        *(("PROXY_ALLOW_IPS", each) for each in ["127.0.0.1", None, ("a", "b"), (1, 2)]),
    ],
)
def test_a_setting_that_makes_no_sense(name, value):
    """It is named, and the application is as it was: it may be set up again."""
    app = Flask("wrong")
    app.config["RAWSOCKET_" + name] = value
    before, wsgi_app = astuple(process_tracker.settings), app.wsgi_app
    with pytest.raises(
        ValueError, match=f"RAWSOCKET_{name} takes .*, not {re.escape(repr(value))}"
    ):
        RawSocket(app)
    assert astuple(process_tracker.settings) == before
    assert app.wsgi_app == wsgi_app
    del app.config["RAWSOCKET_" + name]
    assert RawSocket(app) is app.extensions["rawsocket"]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("RAWSOCKET_HEADER_TIMOUT", "did you mean RAWSOCKET_HEADER_TIMEOUT?"),
        ("RAWSOCKET_STOPTIMEOUT", "did you mean RAWSOCKET_STOP_TIMEOUT?"),
        ("RAW_SOCKET_SAVE_SYN", "did you mean RAWSOCKET_SAVE_SYN?"),
        ("rawsocket_save_syn", "did you mean RAWSOCKET_SAVE_SYN?"),
        ("RAWSOCKET_X", "there are RAWSOCKET_BODY_BUFFER, RAWSOCKET_HEADER_TIMEOUT, "),
    ],
)
def test_a_setting_that_there_is_not(key, hint, caplog):
    """It is named at set-up, with the nearest that there is; every other key is left alone."""
    app = Flask("misspelt")
    app.config |= {key: 1, "RAWSOCKET_SAVE_SYN": False, "SOCKET_TIMEOUT": 1, "RAWSOCKETS": 1}
    RawSocket(app)
    (text,) = [each.getMessage() for each in caplog.records]
    assert text.startswith(f"{key} is not a setting of Flask-RawSocket, and does nothing: {hint}")


@pytest.mark.parametrize("wrong", ["closed", [ConnState.CLOSED], None])
def test_hooks_on_what_is_no_state(wrong):
    """They are refused at once, and nothing is hooked on anything."""
    rawsocket = RawSocket()
    with pytest.raises(TypeError, match="takes ConnStates or a function"):
        rawsocket.on_state_change(wrong)
    with pytest.raises(TypeError, match="takes ConnStates or a function"):
        rawsocket.on_state_change(ConnState.CLOSED, wrong)
    with pytest.raises(TypeError, match="on_state_change decorates a function"):
        rawsocket.on_state_change(ConnState.CLOSED)(wrong)
    with pytest.raises(TypeError, match="on_shutdown decorates a function"):
        rawsocket.on_shutdown(wrong)
    assert not any(rawsocket._hooks.into(each) for each in ConnState)
    assert not rawsocket._hooks.shutdown


def test_remote_addr_is_as_the_last_application_wants_it(monkeypatch):
    """The first set-up turns the override on; an application without the key changes no choice."""
    settings = Settings()
    monkeypatch.setattr(process_tracker, "settings", settings)
    assert not settings.unix_remote_addr
    found = []
    for config in {}, {"RAWSOCKET_UNIX_REMOTE_ADDR": False}, {}:
        app = Flask("one of several")
        app.config.update(config)
        RawSocket(app)
        found.append(settings.unix_remote_addr)
    assert found == [True, False, False]


def test_factory_pattern_and_several_apps():
    """One object may be set up on several applications, each of which finds it."""
    rawsocket = RawSocket()
    apps = Flask("one"), Flask("two")
    for app in apps:
        rawsocket.init_app(app)
    assert [app.extensions["rawsocket"] for app in apps] == [rawsocket, rawsocket]


def test_outside_of_a_request():
    """There is no connection, and the sentence tells the cure."""
    with pytest.raises(NoConnectionError, match="use current_conn in a view"):
        _ = RawSocket(Flask("outside")).current_conn
    with pytest.raises(NoConnectionError, match="use current_conn in a view"):
        _ = current_conn.id


def test_under_the_test_client():
    """Flask's test client has no socket, and the sentence tells which servers have."""
    app = Flask("client")
    RawSocket(app)

    @app.get("/")
    def view():
        with pytest.raises(NoConnectionError, match=r"gunicorn -k flask_rawsocket\.Worker"):
            _ = current_conn.id
        return "told"

    assert app.test_client().get("/").text == "told"
