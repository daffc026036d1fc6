"""`taking`'s application with views whose greenlets are killed, or time out in gevent's own way."""

import gevent
from contract import record
from flask import request
from taking import app, current_conn

__all__ = ["app"]

waiting = {}
"""The greenlets of connections, by the connection's number."""


@app.get("/note-greenlet")
def note_greenlet():
    """Note the greenlet that serves this connection, and will wait for its next request."""
    waiting[current_conn.id] = gevent.getcurrent()
    return {"id": current_conn.id}


@app.get("/kill-greenlet/<int:number>")
def kill_greenlet(number):
    """Kill it."""
    waiting[number].kill()
    return {}


@app.get("/exit")
def exit_by_accident():
    """Call what is meant for programs."""
    raise SystemExit(3)


@app.post("/read-with-timeout")
def read_with_timeout():
    """Read the body until gevent's Timeout breaks that off; read again, and say what came."""
    body = request.environ["wsgi.input"]
    with gevent.Timeout(0.2, exception=False):
        body.read()
    record(timed_out=True)
    try:
        return {"length": len(body.read())}
    except Exception as exc:  # noqa: BLE001
        return {"error": f"{type(exc).__name__}: {exc}"}
