"""What we rely on of asyncio is checked by name, before anything is hijacked."""

from __future__ import annotations

import asyncio.transports

import pytest
from accepting import begin_request, dial, tcp_listener

from flask_rawsocket import ConnState, UnsupportedError
from flask_rawsocket._asyncio import seams


@pytest.fixture
def renamed(monkeypatch):
    """A Python that has renamed one of its private names."""
    monkeypatch.delattr(asyncio.transports, "_FlowControlMixin")
    seams.check_seams.cache_clear()
    yield
    seams.check_seams.cache_clear()


def test_this_python_has_them_all():
    """Each seam is there."""
    seams.check_seams()


def test_the_package_is_imported_first(monkeypatch):
    """Before any part of it: two threads that begin at either end get half of it, and no other."""
    names = []
    real = seams.importlib.import_module
    monkeypatch.setattr(
        seams.importlib, "import_module", lambda name: names.append(name) or real(name)
    )
    seams.check_seams.cache_clear()
    seams.check_seams()
    assert names[0] == "asyncio"
    assert len(names) > 5


def test_it_is_said_before_the_hijack(tracker, stack, renamed):
    """The request is still in hand, and can be answered: no client hears 101 and then nothing."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.sendall(b"x")
    sock.recv(1)
    connection = sock.connection
    begin_request(connection)
    with pytest.raises(UnsupportedError, match=r"asyncio\.transports\._FlowControlMixin"):
        connection.hijack_async(print, protocol="test")
    assert connection.state is ConnState.ACTIVE
    sock.sendall(b"answer")
    assert client.recv(100) == b"answer"


def test_a_worker_says_so_at_start(renamed, caplog):
    """It goes on, as everything else works, with one line in the log."""
    gthread = pytest.importorskip("flask_rawsocket.workers").ThreadWorker
    config = pytest.importorskip("gunicorn.config").Config()
    logged = []

    class Log:
        def error(self, text, *args):
            logged.append(text % args)

    gthread.check_config(config, Log())
    (line,) = logged
    assert line.startswith("hijack_async needs asyncio.transports._FlowControlMixin")


@pytest.mark.parametrize(("owner", "name"), [("no_such_module", "x"), ("no.such.module", "x")])
def test_a_module_that_is_gone(owner, name):
    """Not even the module: that is missing, and not an error of its own."""
    assert not seams._has(owner, name)
