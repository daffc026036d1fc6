"""The application of the server contract: it records every change of state in a file."""

import gc
import json
import os
import socket
import threading

from flask import Flask, Response, request

try:
    from gunicorn.workers.gthread import ThreadWorker
except ImportError:
    ThreadWorker = None

from flask_rawsocket import ConnState, RawSocket, current_conn

app = Flask(__name__)
app.config["PROPAGATE_EXCEPTIONS"] = False
app.config.from_prefixed_env("CONTRACT")
rawsocket = RawSocket(app)

_record = os.open(os.environ["CONTRACT_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def record(**event):
    os.write(_record, json.dumps(event).encode() + b"\n")


@rawsocket.on_state_change
def changed(conn, old, new):
    try:
        usable = conn.sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    except OSError:
        usable = False
    record(
        id=conn.id,
        key=conn.key,
        old=old and old.name,
        new=new.name,
        reason=conn.close_reason and conn.close_reason.group.name,
        why=conn.close_reason and conn.close_reason.name,
        usable=usable,
        in_map=conn.key in rawsocket.connections,
        proxied=conn.proxy and conn.proxy.protocol,
        main=threading.current_thread() is threading.main_thread(),
    )


if os.environ.get("CONTRACT_SLOW_STATE"):
    slow = threading.Event()

    @rawsocket.on_state_change(ConnState[os.environ["CONTRACT_SLOW_STATE"]])
    def dawdle(conn, old, new):
        slow.wait(float(os.environ.get("CONTRACT_SLOW_SECONDS", "1")))


if os.environ.get("CONTRACT_FAILING_HOOK"):

    @rawsocket.on_state_change
    def fail(conn, old, new):
        kind = SystemExit if os.environ["CONTRACT_FAILING_HOOK"] == "SystemExit" else LookupError
        raise kind("this hook always fails")


@rawsocket.on_shutdown
def stopping():
    record(shutdown=True)


def descriptors():
    """Count those that are open, but for Werkzeug's own that wait for the garbage collector.

    It drains a connection with a selector that it does not close when the client resets that.
    """
    if request.environ.get("SERVER_SOFTWARE", "").startswith("Werkzeug/"):
        gc.collect()
    return len(os.listdir("/proc/self/fd"))


def describe(conn):
    return {
        "id": conn.id,
        "key": conn.key,
        "state": conn.state.name,
        "requests": conn.requests,
        "managed": conn.managed,
        "is_unix": conn.is_unix,
        "is_tls": conn.is_tls,
        "age": conn.age,
        "opened_at": conn.opened_at.isoformat(),
        "data": conn.data,
        "proxy": conn.proxy
        and {
            "protocol": conn.proxy.protocol,
            "source": conn.proxy.source,
            "destination": conn.proxy.destination,
            "version": conn.proxy.version,
            "authority": conn.proxy.authority,
            "alpn": conn.proxy.alpn,
            "unique_id": conn.proxy.unique_id and conn.proxy.unique_id.decode(),
            "tls": conn.proxy.tls
            and {
                "version": conn.proxy.tls.version,
                "common_name": conn.proxy.tls.common_name,
                "is_verified": conn.proxy.tls.is_verified,
            },
        },
    }


@app.route("/", methods=["GET", "POST"])
def index():
    conn = current_conn
    conn.data["seen"] = conn.data.get("seen", 0) + 1
    return describe(conn) | {
        "remote_addr": request.remote_addr,
        "remote_host": request.environ.get("REMOTE_HOST"),
        "remote_port": request.environ.get("REMOTE_PORT"),
        "remote_addr_type": type(request.environ.get("REMOTE_ADDR")).__qualname__,
        "scheme": request.scheme,
        "pid": os.getpid(),
        "same": current_conn.id == rawsocket.current_conn.id,
        "alive": len(rawsocket.connections),
        "descriptors": descriptors(),
        "nr_conns": nr_conns(),
    }


def nr_conns():
    """Give the thread worker's own count; None on any other server."""
    if ThreadWorker is None:
        return None
    workers = [each for each in gc.get_objects() if isinstance(each, ThreadWorker)]
    return workers[0].nr_conns if workers else None


@app.get("/stream")
def stream():
    count, size = int(request.args.get("n", 3)), int(request.args.get("size", 10))

    def chunks():
        for _ in range(count):
            yield b"x" * size

    return Response(chunks(), mimetype="text/plain")


@app.get("/fail-midway")
def fail_midway():
    def chunks():
        yield b"x" * 10
        raise ValueError("a view that fails amid its response")

    return Response(chunks(), mimetype="text/plain")


@app.get("/fail")
def fail_before():
    raise ValueError("a view that fails")


@app.post("/upload")
def upload():
    return {"length": len(request.get_data())}


@app.post("/unread")
def unread():
    return {"read": 0}


@app.get("/close")
def close():
    current_conn.close_after_response()
    return describe(current_conn)


@app.get("/slow")
def slow_view():
    threading.Event().wait(float(request.args.get("seconds", 1)))
    return describe(current_conn)
