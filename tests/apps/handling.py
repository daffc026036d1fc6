"""`ending`'s application with views that handle connections roughly, theirs and other people's.

A hook waits on connections from 127.0.0.2 to .5, until `/release` is asked for; and SIGUSR1 makes
the process record how many connections its map has.
"""

import contextlib
import gc
import operator
import os
import signal
import socket
import threading

from contract import describe, rawsocket, record
from ending import app
from flask import request
from taking import error, kept

from flask_rawsocket import Connection, ConnState, RawSocketError, current_conn

__all__ = ["app"]

WAITS = {
    "127.0.0.2": ConnState.NEW,
    "127.0.0.3": ConnState.ACTIVE,
    "127.0.0.4": ConnState.IDLE,
    "127.0.0.5": ConnState.CLOSED,
}
"""In which state the hook waits, by the client's address."""

released = threading.Event()


@rawsocket.on_state_change
def wait_for_release(conn, old, new):
    if not conn.is_unix and WAITS.get(conn.remote_address[0]) is new:
        record(waiting=new.name)
        record(released=released.wait(6), waited=new.name)
        released.clear()


@app.get("/release")
def release():
    released.set()
    return ""


@app.get("/alive")
def alive():
    return {"alive": sorted(rawsocket.connections)}


@app.get("/live")
def live():
    """Count the Connection objects that are not garbage."""
    gc.collect()
    return {"live": sum(isinstance(each, Connection) for each in gc.get_objects())}


@app.get("/keep-by-key")
def keep_by_key():
    conn = current_conn._get_current_object()
    kept[conn.key] = conn
    return describe(conn)


@app.get("/state")
def state():
    """Give the state of another connection, that was kept."""
    return {"state": kept[request.args["key"]].state.name}


@app.get("/other")
def other():
    """Call a method of another connection, that was kept, in a thread of its own."""
    result = {}

    def call():
        try:
            operator.attrgetter(method)(kept.pop(request_key))()
            result["done"] = True
        except RawSocketError as exc:
            result.update(error(exc))

    request_key, method = request.args["key"], request.args["call"]
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return result


@app.get("/close-socket")
def close_socket():
    current_conn.sock.close()
    return "nobody gets this"


@app.get("/shutdown-socket")
def shutdown_socket():
    current_conn.sock.shutdown(socket.SHUT_RDWR)
    return "nobody gets this"


@app.get("/async-quiet")
def async_quiet():
    """Take over and echo on the event loop; a client that resets is no failure."""

    async def handler(reader, writer):
        with contextlib.suppress(ConnectionError):
            writer.write(b"HELLO\n")
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    current_conn.hijack_async(handler)
    return ""


@app.get("/refused")
def refused():
    """Try what takes a server of ours; give what each raised."""
    conn = current_conn._get_current_object()
    calls = {
        "close_after_response": conn.close_after_response,
        "abort": conn.abort,
        "hijack": conn.hijack,
        "upgrade": lambda: conn.upgrade("echo"),
        "hijack_async": lambda: conn.hijack_async(print),
        "on_disconnect": lambda: conn.on_disconnect(lambda: None),
        "wait_disconnected": lambda: conn.wait_disconnected(0),
        "set_deadlines": lambda: conn.set_deadlines(read=1),
        "set_min_rates": lambda: conn.set_min_rates(read=1),
    }
    found = {}
    for name, call in calls.items():
        try:
            call()
            found[name] = None
        except RawSocketError as exc:
            found[name] = error(exc)
    return found


@app.get("/no-connection")
def no_connection():
    """Give what is raised where the server shows no socket."""
    try:
        return describe(current_conn)
    except RawSocketError as exc:
        return error(exc)


@app.get("/refused-here")
def refused_here():
    """Try what a server of ours may lack; give the texts of what was raised."""
    found = {}
    for name, call in {
        "set_deadlines": lambda: current_conn.set_deadlines(read=1),
        "set_min_rates": lambda: current_conn.set_min_rates(write=1),
        "lifted": lambda: current_conn.set_min_rates(read=None),
    }.items():
        try:
            found[name] = call()
        except RawSocketError as exc:
            found[name] = str(exc)
    return found


@app.get("/kernel")
def kernel():
    """Ask the kernel; give facts, or what was raised."""
    conn = current_conn._get_current_object()
    found = {"disconnected": conn.is_disconnected(), "fileno": conn.fileno()}
    for name, ask in {
        "rtt": lambda: conn.tcp_info().rtt,
        "peer_pid": lambda: conn.peer_credentials().pid,
    }.items():
        try:
            found[name] = ask()
        except RawSocketError as exc:
            found[name] = error(exc)
    return found


@app.get("/wait-gone")
def wait_gone():
    """Wait, by asking the kernel again and again, until the client has gone."""
    conn = current_conn._get_current_object()
    record(asking=True)
    pause = threading.Event()
    for _ in range(600):
        if conn.is_disconnected():
            record(found_gone=conn.peer_status().name)
            break
        pause.wait(0.01)
    return ""


def tell(signum, frame):
    record(map=len(rawsocket.connections), of=os.getpid())


if threading.current_thread() is threading.main_thread() and not os.environ.get("SERVER_SOFTWARE"):
    # gunicorn has set its own handler by now, and does so again when it forks.
    signal.signal(signal.SIGUSR1, tell)
