"""The contract's application with views that end their connections, and hooks that take time."""

import os
import time
import warnings

from flask import request
from taking import app, rawsocket, record

from flask_rawsocket import ConnState, current_conn

GATE = os.environ.get("CONTRACT_GATE")
"""Where a file is made when the CLOSED hooks may end."""


@rawsocket.on_state_change(ConnState.CLOSED)
def closed(conn, old, new):
    if GATE is not None:
        record(hook="begun")
        for _ in range(1000):
            if os.path.exists(GATE):
                break
            time.sleep(0.01)


@app.get("/owner-ends")
def owner_ends():
    """Hijack, say so, and end the connection."""
    with current_conn.hijack() as stream:
        stream.sendall(b"HELLO\n")
    return ""


@app.get("/with-a-child")
def with_a_child():
    """Hijack, fork a child that has the descriptor too, and end the connection."""
    stream = current_conn.hijack()
    stream.sendall(b"HELLO\n")
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent lets go of the pipe
        os._exit(0)
    os.close(reader)
    try:
        if request.args["how"] == "abort":
            current_conn.abort()
        else:
            stream.close()
        # The child lives on until the peer has seen the end, or a good while.
        record(child=child)
        for _ in range(1000):
            if os.path.exists(request.args["gate"]):
                break
            time.sleep(0.01)
    finally:
        os.close(writer)
        os.waitpid(child, 0)
    return ""


@app.get("/with-a-duplicate")
def with_a_duplicate():
    """Hijack, duplicate the socket, end the connection, and have the duplicate a while longer."""
    stream = current_conn.hijack()
    stream.sendall(b"HELLO\n")
    with stream.sock.dup():
        stream.close()
        for _ in range(1000):
            if os.path.exists(request.args["gate"]):
                break
            time.sleep(0.01)
    return ""


@app.get("/shut-the-reading-half")
def shut_the_reading_half():
    """What libraries do to a socket that they want no more of; then a response as ever."""
    import socket  # noqa: PLC0415

    current_conn.sock.shutdown(socket.SHUT_RD)
    return "a response that nobody may read on the way"
