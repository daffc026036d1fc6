"""The limits on peers that say nothing, and on handlers that do not end; shortened here."""

from __future__ import annotations

import asyncio
import socket

import pytest
from flask import Flask
from servers import Client, wait_for
from talking import frame, handshake

from flask_rawsocket import CloseReason, ConnState, RawSocket
from flask_rawsocket._tracking.tracker import process_tracker
from flask_rawsocket.streams import WebSocketClosedError, _end, _wire, _writers
from flask_rawsocket.streams._live import loop, streams
from flask_rawsocket.testing import RawSocketServer

LIMITS = [
    (_wire, "PING_INTERVAL"),
    (_wire, "CLOSE_LIMIT"),
    (_wire, "LEAVE_LIMIT"),
    (_writers, "STALL_LIMIT"),
    (_end, "LIMIT"),
]


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    for module, name in LIMITS:
        monkeypatch.setattr(module, name, 0.2)
    monkeypatch.setattr("flask_rawsocket.streams._outlet.STALL_LIMIT", 0.2)


@pytest.fixture
def app():
    app = Flask(__name__)
    rawsocket = RawSocket(app)

    @app.route("/ws/<what>", websocket=True)
    def ws(what):
        return rawsocket.websocket(globals()[what], app.notes)

    @app.get("/events")
    def events():
        return rawsocket.events(rawsocket.group("all").join(), ping=0.1)

    app.notes = []
    return app


@pytest.fixture
def reasons(app):
    """The reasons of the connections that have ended."""
    found = []

    @app.extensions["rawsocket"].on_state_change(ConnState.CLOSED)
    def closed(conn, _old, _new):
        found.append(conn.close_reason)

    return found


@pytest.fixture
def connect(app):
    """A function that opens a stream over a UNIX socket, whose buffers are small."""
    clients = []
    with RawSocketServer(app, "unix") as server:

        def connect(path):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(server.path)
            sock.settimeout(20)
            clients.append(Client(sock))
            if path == "/events":
                clients[-1].get(path)
            else:
                handshake(clients[-1], path)
            return clients[-1]

        yield connect
        for each in clients:
            each.close()
        wait_for(lambda: len(streams) == 0, "the streams to end")


async def listen(ws, notes):
    async for message in ws:
        notes.append(message)
    notes.append((ws.close_code, ws.close_reason))


async def waits(_ws, notes):
    try:
        await asyncio.Event().wait()
    finally:
        notes.append("finally")


async def floods(ws, notes):
    try:
        while True:
            await ws.send(bytes(100_000))
    except WebSocketClosedError as exc:
        notes.append(exc.code)
        raise


async def goes_on(ws, notes):
    while True:
        try:
            notes.append(await ws.receive())
        except Exception:  # noqa: BLE001  as in many an application
            if "failed" not in notes:
                notes.append("failed")


async def does_not_end(_ws, notes):
    while len(notes) < 3:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            notes.append("cancelled")


def test_no_answer(app, connect, reasons):
    """A peer that answers no ping is dropped with 1011, and its handler is told."""
    assert b"keepalive ping timeout" in connect("/ws/listen").rest()
    wait_for(lambda: app.notes == [(1011, "keepalive ping timeout")], "the handler")
    assert wait_for(lambda: reasons, "the reason") == [CloseReason.APP_CLOSED]


def test_answers(app, connect):
    """A peer that answers pings stays, though it says nothing else."""
    client = connect("/ws/listen")
    for _ in range(4):
        assert client._exactly(2) == b"\x89\0"
        client.send(frame(10, b""))
    client.send(frame(1, b"here"))
    wait_for(lambda: app.notes == ["here"], "the message")


def test_no_answer_to_a_close(app, connect):
    """A peer that does not answer a close frame is dropped."""
    client = connect("/ws/listen")
    client.send(frame(8, (1000).to_bytes(2, "big")))
    assert client.rest().endswith(b"\x88\x02\x03\xe8")
    wait_for(lambda: app.notes == [(1000, "")], "the handler")


def test_deaf_handler(app, connect):
    """A handler that waits for something else than its client is cancelled when that has left."""
    connect("/ws/waits").close()
    wait_for(lambda: app.notes == ["finally"], "the handler")


def test_does_not_read(app, connect, reasons, monkeypatch):
    """A client that reads nothing of what its handler sends is dropped, and the handler told."""
    monkeypatch.setattr(_wire, "PING_INTERVAL", 20)  # or it is found by that
    connect("/ws/floods")
    wait_for(lambda: app.notes == [1006], "the handler")
    assert wait_for(lambda: reasons, "the reason") == [CloseReason.SLOW_READER]


def test_goes_on_regardless(app, connect):
    """A handler that catches the end and goes on is cancelled; others have their turns."""
    first = connect("/ws/goes_on")
    first.close()
    wait_for(lambda: app.notes == ["failed"], "the handler")
    other = connect("/ws/listen")
    other.send(frame(1, b"heard"))
    wait_for(lambda: "heard" in app.notes, "the message")


def test_catches_cancellation(app, connect, caplog):
    """A handler that catches its cancellation is named in the log, and cancelled again."""
    connect("/ws/does_not_end").close()
    wait_for(lambda: app.notes == ["cancelled"] * 3, "the handler")
    assert "<WebSocket does_not_end" in caplog.text
    assert "goes on" in caplog.text


def test_stalled_events(app, connect, reasons):
    """An event stream whose client reads nothing is dropped, though nothing more is sent."""
    group = app.extensions["rawsocket"].group("all")
    connect("/events")
    wait_for(lambda: len(group) == 1, "the member")
    group.send("x" * 2**20)
    assert wait_for(lambda: reasons, "the reason") == [CloseReason.SLOW_READER]


@pytest.mark.parametrize("stopping", [True, False])
def test_ended_by_force(connect, stopping, monkeypatch):
    """Where the loop ends a stream by force, the client is told why all the same."""
    monkeypatch.setattr(_wire, "PING_INTERVAL", 20)
    ws, events = connect("/ws/listen"), connect("/events")
    wait_for(lambda: len(streams) == 2, "the streams")
    monkeypatch.setattr(process_tracker, "is_stopping", stopping)
    for each in list(streams._streams):
        loop().call_soon_threadsafe(each._task.cancel)
    code = 1012 if stopping else 1011
    assert ws.rest() == b"\x88\x02" + code.to_bytes(2, "big")
    body = events.rest()
    assert (b"retry: " in body) is stopping
    assert body.endswith(b"\n\n\r\n0\r\n\r\n") is stopping
