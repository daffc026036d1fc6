"""The application of Go's scenarios: the contract's, with the views that only they need."""

import threading

from contract import app, rawsocket, record
from flask import Response

from flask_rawsocket import ConnState, current_conn

gate = threading.Event()
"""What a view or a hook waits for; `/go` opens it."""
shut_out = threading.Event()
"""Set while the hook on NEW has to wait."""


@rawsocket.on_state_change(ConnState.NEW)
def born(conn, old, new):
    conn.data["born"] = conn.id
    if shut_out.is_set():
        shut_out.clear()
        record(shut_out=conn.key)
        gate.wait(20)


@app.get("/go")
def go():
    gate.set()
    return ""


@app.get("/shut-out-the-next")
def shut_out_the_next():
    gate.clear()
    shut_out.set()
    return ""


@app.get("/data")
def data():
    return {"id": current_conn.id, **current_conn.data}


@app.get("/one-two")
def one_two():
    gate.clear()

    def chunks():
        yield b"one"
        gate.wait(20)
        yield b"two"

    return Response(chunks())


@app.get("/past-write-deadline")
def past_write_deadline():
    conn = rawsocket.current_conn

    def chunks():
        yield b"one"
        conn.set_deadlines(write=0)
        yield b"two"

    return Response(chunks())


@app.get("/patient")
def patient():
    """Set a read deadline that passes while the view waits for its client to leave."""
    conn = rawsocket.current_conn
    conn.set_deadlines(read=0.05)
    return {"gone": conn.wait_disconnected(0.3)}


@app.get("/entered")
def entered():
    """Take over when the client has sent something, and say what, and that it was the last."""
    conn = rawsocket.current_conn
    record(entered=True)
    waited = threading.Event()
    conn.on_disconnect(waited.set)
    waited.wait(20)
    with conn.hijack() as stream:
        stream.sendall(stream.recv_exactly(3) + b" and %r" % stream.recv(1))
    return ""


@app.get("/watched")
def watched():
    conn = rawsocket.current_conn
    conn.on_disconnect(lambda: record(called_back=True))
    return {"id": conn.id}


@app.get("/taken")
def taken():
    conn = rawsocket.current_conn
    with conn.hijack() as stream:
        stream.sendall(b"%d\n" % conn.id + stream.recv(100))
    return ""


@app.get("/deadlines-lifted")
def deadlines_lifted():
    conn = rawsocket.current_conn
    conn.set_deadlines(read=0.05, write=0.05)
    with conn.hijack() as stream:
        conn.wait_disconnected(0.2)
        stream.sendall(b"HELLO\n" + stream.recv_exactly(4))
    return ""
