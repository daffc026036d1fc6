"""A user's program, which type checkers accept, and in which they find what they should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import assert_type

from flask import Flask, Response

from flask_rawsocket import (
    CloseReason,
    Connection,
    ConnectionMap,
    ConnState,
    HijackedSocket,
    RawSocket,
    RemoteAddr,
    current_conn,
)
from flask_rawsocket.serving import make_server
from flask_rawsocket.sockinfo import PeerCredentials, PeerStatus, Queues, TCPInfo, TLSInfo
from flask_rawsocket.workers import SyncWorker, ThreadWorker

app = Flask(__name__)
rawsocket = RawSocket(app)

assert_type(current_conn, Connection)
assert_type(rawsocket.current_conn, Connection)
assert_type(rawsocket.connections, ConnectionMap)


workers: list[type[ThreadWorker | SyncWorker]] = [ThreadWorker, SyncWorker]


@rawsocket.on_state_change(ConnState.CLOSED)
def closed(conn: Connection, old: ConnState | None, new: ConnState) -> None:
    assert_type(conn.close_reason, CloseReason | None)


@rawsocket.on_state_change
def changed(conn: Connection, old: ConnState | None, new: ConnState) -> None:
    pass


hooks: list[Callable[[Connection, ConnState | None, ConnState], None]] = [closed, changed]


@rawsocket.on_shutdown
def goodbye() -> None:
    for conn in rawsocket.connections.in_state(ConnState.HIJACKED):
        conn.abort()


@app.get("/kernel")
def kernel() -> str:
    conn = rawsocket.current_conn
    assert_type(conn.tcp_info(), TCPInfo)
    assert_type(conn.tcp_info().rtt, float | None)
    assert_type(conn.peer_credentials(), PeerCredentials)
    assert_type(conn.peer_credentials().group_names, frozenset[str])
    assert_type(conn.peer_security_label(), str | None)
    assert_type(conn.peer_status(), PeerStatus)
    assert_type(conn.queues(), Queues)
    assert_type(conn.tls, TLSInfo | None)
    assert_type(conn.options.nodelay, bool)
    assert_type(conn.key, RemoteAddr)
    conn.options.nodelay = True
    return "fine"


@app.post("/reload")
@rawsocket.require_peer(any_of={"user": "root", "group": ["adm", "wheel"]})
def reload() -> str:
    return rawsocket.peer_identity()


@rawsocket.stop_when_disconnected()
def slow(part: int) -> str:
    rawsocket.checkpoint()
    with rawsocket.stop_when_disconnected() as checkpoint:
        checkpoint()
    return str(part)


assert_type(slow(1), str)


@app.get("/bytes")
def stream_of_bytes() -> Response:
    return Response(rawsocket.until_disconnected(b"%d\n" % each for each in range(3)))


@app.get("/text")
def stream_of_text() -> Response:
    return Response(rawsocket.until_disconnected(f"{each}\n" for each in range(3)))


@app.get("/echo")
def echo() -> str:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))

    current_conn.hijack_async(handler)
    return ""


@app.get("/take")
def take() -> str:
    with current_conn.upgrade("example", {"Server": "mine"}) as taken:
        assert_type(taken, HijackedSocket)
        assert_type(taken.recv(10), bytes)
    return ""


@rawsocket.require_peer(user="root")
def guarded(part: int) -> str:
    return f"you may: {part}"


assert_type(guarded(1), str)


def serve() -> None:
    make_server("127.0.0.1", 0, app, threaded=True).serve_forever()
