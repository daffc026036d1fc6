"""What runs beside the requests, where it is a greenlet."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading

import pytest
from accepting import dial
from servers import PATIENCE

pytest.importorskip("gevent")
import gevent

from flask_rawsocket._asyncio.event_loop import EventLoop
from flask_rawsocket._gevent.listener import GreenletListener
from flask_rawsocket._gevent.process import _start_greenlet
from flask_rawsocket._tracking.forgotten import Forgotten
from flask_rawsocket._tracking.runner import Runner
from flask_rawsocket.streams import _blocking


def test_calls_in_greenlets():
    """They do not begin before their caller waits, and in an empty context, as in a thread."""
    variable, seen = contextvars.ContextVar("variable", default="nothing"), []
    variable.set("of the request")
    _start_greenlet(gevent.get_hub(), lambda: seen.append(variable.get()), "name")
    assert seen == []
    gevent.sleep(0)
    assert seen == ["nothing"]


def test_calls_from_a_native_thread():
    """They are made in greenlets of the server's thread: the caller's may never have a turn."""
    seen = []
    args = gevent.get_hub(), lambda: seen.append(threading.get_ident()), "name"
    thread = threading.Thread(target=_start_greenlet, args=args)
    thread.start()
    thread.join()
    with gevent.Timeout(PATIENCE):
        while not seen:
            gevent.sleep(0.001)
    assert seen == [threading.get_ident()]


@pytest.fixture
def begun(monkeypatch):
    """The names of what is begun; a thread is not to be, as where it is patched others have a turn.

    A lock that is held meanwhile keeps no greenlet out if it was made before the process was
    patched, and on the event loop another greenlet would find a loop running.
    """
    names = []

    def refuse(self):
        raise AssertionError(f"{self.name} is a thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(Runner, "start_thread", staticmethod(lambda _, name: names.append(name)))
    return names


def test_the_watcher(begun, tracker, stack):
    """It is begun under its lock."""
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    _, sock = dial(stack, GreenletListener(listening, tracker))
    tracker.watch(sock.connection, lambda: None)()
    assert begun == ["rawsocket-watcher"]


def test_who_ends_the_forgotten(begun):
    """It is begun when a connection is hijacked."""
    Forgotten().start()
    assert begun == ["rawsocket-forgotten"]


def test_the_event_loop(begun):
    """It is begun under its lock, and the tracker's or a group's."""
    loop = EventLoop(Runner("of the test")).start()
    loop.close()
    assert begun == ["rawsocket-asyncio"]


def test_who_looks_at_the_event_loop(begun, monkeypatch):
    """It is begun on the event loop."""
    monkeypatch.setattr(_blocking, "_watch", _blocking._Watch())

    async def watch():
        _blocking.watch_loop()

    asyncio.run(watch())
    assert begun == ["rawsocket-blocking"]
