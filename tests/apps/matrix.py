"""The contract's application for the matrix: a view for each thing that a server may be able to do.

A view answers "yes", or "-" where this package says that the server cannot.
"""

import asyncio
import functools
import os
import threading

from contract import app, nr_conns, rawsocket, record
from flask import request
from held import is_held

from flask_rawsocket import RawSocketError, current_conn

__all__ = ["app", "nr_conns"]


def possible(function):
    """Answer "-" where the server cannot do it."""

    @functools.wraps(function)
    def view(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except RawSocketError as exc:
            return "-", {"X-Why": f"{type(exc).__name__}"}

    return view


@app.get("/can/conn")
@possible
def conn():
    """Say who the client is, and what has been kept of it."""
    data = current_conn.data
    data["seen"] = data.get("seen", 0) + 1
    return {
        "key": current_conn.key,
        "requests": current_conn.requests,
        "seen": data["seen"],
        "remote_addr": request.environ.get("REMOTE_ADDR"),
        "in_map": current_conn.key in rawsocket.connections,
        "alive": current_conn.age >= 0 and current_conn.sock.fileno() >= 0,
        "proxy": bool(current_conn.proxy),
    }


@app.get("/can/kernel")
@possible
def kernel():
    """Say what the kernel knows."""
    found = []
    if current_conn.is_unix:
        found += ["pid"] if current_conn.peer_credentials().pid else []
    else:
        found += ["rtt"] if current_conn.tcp_info().rtt is not None else []
    found += ["tls"] if current_conn.tls is not None else []
    return " ".join(found) or "-"


@app.get("/can/saved_syn")
@possible
def saved_syn():
    return "yes" if current_conn.saved_syn() else "-"


@app.get("/can/is_disconnected")
@possible
def is_disconnected():
    """Record that the client has left, when it has."""
    assert not current_conn.is_disconnected()
    record(begun="is_disconnected")
    pause = threading.Event()
    for _ in range(500):
        if current_conn.is_disconnected():
            record(heard="is_disconnected")
            break
        pause.wait(0.01)
    return "?"


@app.get("/can/on_disconnect")
@possible
def on_disconnect():
    """Record it in a callback, while the view waits in a thread of its own."""
    heard = threading.Event()
    current_conn.on_disconnect(heard.set)
    record(begun="on_disconnect")
    if heard.wait(5):
        record(heard="on_disconnect")
    return "?"


@app.get("/can/wait_disconnected")
@possible
def wait_disconnected():
    record(begun="wait_disconnected")
    if current_conn.wait_disconnected(5):
        record(heard="wait_disconnected")
    return "?"


@app.get("/can/hijack")
@possible
def hijack():
    """Answer what comes behind the request, by hand."""
    stream = current_conn.hijack()
    with stream:
        stream.sendall(b"HIJACKED " + stream.recv(100))
    return ""


@app.get("/can/upgrade")
@possible
def upgrade():
    with current_conn.upgrade("echo") as stream:
        stream.sendall(stream.recv(100))
    return ""


@app.get("/can/hijack_async")
@possible
def hijack_async():
    async def serve(reader, writer):
        writer.write(b"HIJACKED " + await reader.read(100))
        await writer.drain()
        writer.close()

    return current_conn.hijack_async(serve)


@app.get("/can/stream")
@possible
def can_stream():
    """Say whether a thread is held for this stream."""
    return rawsocket.stream(where())


async def where():
    for _ in range(30):  # the thread may be sending the head
        if is_held():
            yield "a thread each"
            return
        await asyncio.sleep(0.01)
    yield "no thread"


@app.get("/can/websocket", websocket=True)
def websocket():
    try:
        return rawsocket.websocket(send_back)
    except RawSocketError:
        return "-"


async def send_back(ws):
    async for message in ws:
        await ws.send(message)


@app.get("/can/deadlines")
@possible
def deadlines():
    current_conn.set_deadlines(read=5, write=5)
    return "yes"


@app.get("/can/rates")
@possible
def rates():
    current_conn.set_min_rates(read=1)
    return "yes"


@app.get("/can/abort")
@possible
def abort():
    current_conn.abort()
    return "?"


@app.get("/can/close_after_response")
@possible
def close_after_response():
    current_conn.close_after_response()
    return "yes"


@app.get("/can/threads")
def threads():
    """Say how many there are; Python counts greenlets, too."""
    return str(len(os.listdir("/proc/self/task")))
