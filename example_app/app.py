"""A page that shows the connection under it, the other live ones, a chat and a slow view.

``make demo`` runs it, on a TCP port and on a UNIX socket.
"""

import os
from collections import deque
from dataclasses import asdict

from flask import Flask, render_template

from example_app.chat import chat, members
from example_app.extension import rawsocket
from example_app.slow import counts, slow
from flask_rawsocket import ConnState, RawSocketError, RemoteAddr

app = Flask(__name__)
rawsocket.init_app(app)
app.register_blueprint(chat)
app.register_blueprint(slow)

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
        "queues": known(lambda: asdict(conn.queues())),
        "tcp": known(lambda: tcp_facts(conn.tcp_info())),
    }


def tcp_facts(info):
    """Give what `flask rawsocket ss` shows of a TCP connection."""
    return {name: getattr(info, name) for name in ("rtt", "snd_cwnd", "total_retrans")}


def known(ask):
    """Give what the kernel answers; None where it has no answer, as for TCP over a UNIX socket."""
    try:
        return ask()
    except RawSocketError:
        return None


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
        "members": len(members),
        "work": dict(counts),
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
