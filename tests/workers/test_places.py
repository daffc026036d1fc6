"""Ours stand in gunicorn's places in the worker's process, and nowhere else."""

from __future__ import annotations

import pytest

http = pytest.importorskip("gunicorn.http")

from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.workers import gthread

from flask_rawsocket.workers import _places
from flask_rawsocket.workers._parser import Parser
from flask_rawsocket.workers._response import Response


@pytest.fixture
def taken(monkeypatch):
    """Ours, in their places until the test ends."""
    places = [(owner, name) for owner, name, _ in _places._PLACES]
    for owner, name in (*places, (wsgi, "Response"), (http, "RequestParser")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # so that it comes back
    _places.take_places(Response, Parser)


def test_importing_changes_nothing():
    """The arbiter imports us as well, and other programs may."""
    assert wsgi.Response.__module__ == "gunicorn.http.wsgi"
    assert http.RequestParser.__module__ == "gunicorn.http.parser"


@pytest.mark.usefixtures("taken")
def test_gunicorn_makes_ours():
    """By its own functions, which look their classes up when they are called."""
    cfg = Config()
    requests = http.get_parser(cfg, iter([b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]), ("127.0.0.1", 5))
    assert type(requests) is Parser
    response, environ = wsgi.create(next(requests), None, ("127.0.0.1", 5), ("127.0.0.1", 80), cfg)
    assert type(response) is Response
    again = wsgi.base_environ(cfg)
    assert again["wsgi.errors"] is environ["wsgi.errors"]


@pytest.mark.usefixtures("taken")
def test_uwsgi_keeps_its_own():
    """Its requests are not HTTP's."""
    cfg = Config()
    cfg.set("protocol", "uwsgi")
    assert not isinstance(http.get_parser(cfg, iter([]), None), Parser)


@pytest.mark.usefixtures("taken")
@pytest.mark.skipif(not hasattr(gthread, "HTTP2Response"), reason="gunicorn 26 and newer have it")
def test_http2_keeps_its_own():
    """Its responses are frames, not bytes on the socket."""
    assert not issubclass(gthread.HTTP2Response, Response)


def test_all_are_seams():
    """A release that has moved one is found when the arbiter starts."""
    for owner, name, _ in _places._PLACES:
        assert (owner, name) in _places.SEAMS
        assert hasattr(owner, name)
