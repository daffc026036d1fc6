"""A page that shows the connection under it, and the other live ones.

``make demo`` runs it, on a TCP port and on a UNIX socket.
"""

import os
from collections import deque

from flask import Flask, render_template

from flask_rawsocket import ConnState, RawSocket, RemoteAddr

app = Flask(__name__)
rawsocket = RawSocket(app)

closed = deque(maxlen=20)
"""The connections that ended last, the latest first."""


def describe(conn):
    """Give what the page and the API say of a connection."""
    return {
        "id": conn.id,
        "key": conn.key,
        "state": conn.state.name,
        "is_unix": conn.is_unix,
        "is_tls": conn.is_tls,
        "family": conn.family.name,
        "local_address": RemoteAddr.of_peer(conn.local_address),
        "requests": conn.requests,
        "opened_at": conn.opened_at.isoformat(timespec="milliseconds"),
        "age": round(conn.age, 3),
        "managed": conn.managed,
    }


@rawsocket.on_state_change(ConnState.CLOSED)
def remember(conn, _old, _new):
    closed.appendleft(describe(conn) | {"close_reason": conn.close_reason.name})


def overview():
    """Give this request's connection and all that the process knows of the others."""
    return {
        "current": describe(rawsocket.current_conn),
        "connections": [describe(conn) for conn in rawsocket.connections.values()],
        "closed": list(closed),
        "pid": os.getpid(),
    }


@app.get("/")
def index():
    return render_template("index.html", **overview())


@app.get("/api/connection")
def connection():
    return describe(rawsocket.current_conn)


@app.get("/api/connections")
def connections():
    return overview()
