"""Descriptors that a server not written in Python lends: used, and never closed."""

from __future__ import annotations

import gc
import os
import socket
import types

import pytest
from flask import Flask

from flask_rawsocket import ConnectionClosedError, NoConnectionError, RawSocket, current_conn
from flask_rawsocket.foreign._borrowed import BorrowedSocket, borrow

ENVIRON = {"REQUEST_METHOD": "GET", "SERVER_NAME": "a", "SERVER_PORT": "80", "PATH_INFO": "/"}
ENVIRON |= {"wsgi.url_scheme": "http", "uwsgi.version": b"2.0"}


@pytest.fixture
def lent(monkeypatch):
    """The server's end of a connection, which a stand-in for uWSGI lends."""
    ours, peer = socket.socketpair()
    module = types.SimpleNamespace(connection_fd=ours.fileno)
    monkeypatch.setitem(__import__("sys").modules, "uwsgi", module)
    with ours, peer:
        yield ours


def is_open(sock):
    return os.fstat(sock.fileno()) is not None


@pytest.mark.parametrize("end", [BorrowedSocket.close, BorrowedSocket.detach, lambda _sock: None])
def test_it_is_not_closed(lent, end):
    """Whatever becomes of the object, the descriptor is its lender's."""
    sock = borrow(ENVIRON)
    assert sock.fileno() == lent.fileno()
    end(sock)
    del sock
    gc.collect()
    assert is_open(lent)


def test_it_blocks_as_before(lent):
    """A default timeout, meant for others, does not change the lender's descriptor."""
    socket.setdefaulttimeout(5)
    try:
        sock = borrow(ENVIRON)
    finally:
        socket.setdefaulttimeout(None)
    assert os.get_blocking(sock.fileno())


def test_it_is_given_back(lent):
    """After its request a Connection that was kept says that it is closed."""
    app = Flask(__name__)
    RawSocket(app)
    kept = []
    app.add_url_rule(
        "/", view_func=lambda: str(kept.append(current_conn._get_current_object()) or kept[0].state)
    )
    list(body := app(dict(ENVIRON), lambda *_args: None))
    body.close()
    with pytest.raises(ConnectionClosedError):
        kept[0].fileno()
    assert is_open(lent)


def test_it_is_lent_to_who_sees_the_end(lent):
    """Without a RawSocket nobody would give it back."""
    app = Flask(__name__)
    with (
        app.request_context(dict(ENVIRON)),
        pytest.raises(NoConnectionError, match="uWSGI lends the socket"),
    ):
        current_conn._get_current_object()


@pytest.mark.parametrize("environ", [{}, {"uwsgi.version": b"2.0"}])
def test_no_lender(environ):
    """Elsewhere there is nothing to borrow."""
    assert borrow(environ) is None


def test_what_is_no_socket(monkeypatch, lent, tmp_path):
    """A request that came by other ways has no connection."""
    with (tmp_path / "file").open("wb") as file:
        monkeypatch.setattr("uwsgi.connection_fd", file.fileno)
        assert borrow(ENVIRON) is None
