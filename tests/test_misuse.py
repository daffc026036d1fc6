"""What is easily written wrong, and would do nothing: one sentence each, with the name."""

from __future__ import annotations

import functools

import pytest
from flask import Flask

from flask_rawsocket import ConnState, RawSocket, current_conn
from flask_rawsocket._misuse import name_of, plain_function

AWAITED_BY_NOBODY = (
    "{} takes a plain function: {} is a coroutine function, which nobody would await"
)


async def hook(*_):
    """Be a coroutine function."""


class AsyncHook:
    async def __call__(self, *_):
        """Be one, too."""

    def __repr__(self):
        return "<AsyncHook>"


@pytest.mark.parametrize(
    ("function", "name"),
    [(hook, "hook"), (functools.partial(hook, 1), "functools.partial"), (AsyncHook(), "AsyncHook")],
)
def test_coroutine_functions_as_hooks(function, name):
    """They are refused by name, and nothing is hooked."""
    rawsocket = RawSocket()
    for decorate, taker in [
        (rawsocket.on_state_change, "on_state_change"),
        (rawsocket.on_state_change(ConnState.CLOSED), "on_state_change"),
        (rawsocket.on_shutdown, "on_shutdown"),
    ]:
        with pytest.raises(TypeError, match="which nobody would await") as caught:
            decorate(function)
        assert str(caught.value).startswith(f"{taker} takes a plain function: ")
        assert name in str(caught.value)
    assert not any(rawsocket._hooks.into(each) for each in ConnState)
    assert not rawsocket._hooks.shutdown


def test_a_coroutine_function_as_a_callback(rawsocket_client):
    """Nor does `on_disconnect` take one."""
    current = rawsocket_client.application.view_functions
    current["index"] = lambda: current_conn.on_disconnect(hook)
    with pytest.raises(TypeError, match=AWAITED_BY_NOBODY.format("on_disconnect", "hook")):
        rawsocket_client.get("/")


@pytest.fixture
def app():
    """An application with a view."""
    app = Flask("misused")
    app.testing = True
    RawSocket(app)
    app.add_url_rule("/", "index", lambda: "hello")
    return app


def view():
    """Be a view."""


@pytest.mark.parametrize("name", ["require_peer", "stop_when_disconnected"])
def test_decorators_without_their_parentheses(name):
    """The text is what to write."""
    expected = rf"{name} takes parentheses: write @rawsocket\.{name}\(\.\.\.\) above view"
    with pytest.raises(TypeError, match=expected):
        getattr(RawSocket(), name)(view)


def test_a_function_of_an_iterable_that_decorates():
    """`until_disconnected` is no decorator, and says what it is."""
    with pytest.raises(TypeError, match=r"takes an iterable, and view is a function: return"):
        RawSocket().until_disconnected(view)


@pytest.mark.parametrize("name", ["require_peer", "stop_when_disconnected"])
def test_decorators_above_the_route(name, caplog):
    """The route has the view without them: the log says so, and by which name."""
    app = Flask("order")
    rawsocket = RawSocket(app)
    kwargs = {"uid": 0} if name == "require_peer" else {}
    decorate = getattr(rawsocket, name)(**kwargs)
    app.add_url_rule("/right", "right", decorate(lambda: "guarded"))
    assert caplog.records == []
    app.add_url_rule("/wrong", "wrong", view)
    decorate(view)
    (text,) = [each.getMessage() for each in caplog.records]
    assert text.startswith(f"{name} stands above the route of view, which has been registered")


def test_a_websocket_view_above_the_route(caplog):
    """The route has the handler without it: the log says so. Below the route it says nothing."""
    app = Flask("order")
    rawsocket = RawSocket(app)
    app.add_url_rule("/right", "right", rawsocket.websocket_view(hook))
    assert caplog.records == []
    app.add_url_rule("/wrong", "wrong", hook)
    rawsocket.websocket_view(max_message_size=1)(hook)
    (text,) = [each.getMessage() for each in caplog.records]
    assert text.startswith("websocket_view stands above the route of hook, which has been")


def test_a_plain_function_as_a_websocket_view():
    """It is refused where it is decorated, not when the first client comes."""
    with pytest.raises(TypeError, match="is not a handler, which is a coroutine function"):
        RawSocket().websocket_view(view)


async def numbers():
    """Be an async generator function."""
    yield 1


@pytest.mark.parametrize(
    ("source", "cure"),
    [
        (numbers, r"call the function: numbers\(\.\.\.\)"),
        (RawSocket().group("room"), r"pass group\.join\(\)"),
        (["a", "b"], "write an `async def` with `yield`, and pass what it returns"),
    ],
)
@pytest.mark.parametrize("name", ["stream", "events"])
def test_what_is_not_a_source(app, name, source, cure):
    """A stream of what is not an async generator is refused, with what to write instead."""
    with (
        app.test_request_context("/"),
        pytest.raises(TypeError, match=f"is not an async generator; {cure}"),
    ):
        getattr(RawSocket(), name)(source)


def test_what_is_not_misused():
    """A plain function is returned as it is; what has no name is shown."""
    assert plain_function(view, "on_shutdown") is view
    assert name_of(view) == "view"
    assert name_of(7) == "7"
