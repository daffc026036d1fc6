"""The contract's application with connections whose owners are told of the server's stop."""

import asyncio
import os
import threading
import time

from contract import app, rawsocket, record
from flask import request

from flask_rawsocket import ConnState, current_conn

SECONDS = float(os.environ.get("STOPPING_SECONDS", "0"))
"""How long a function given to on_shutdown takes."""

HOOK_SECONDS = float(os.environ.get("STOPPING_HOOK_SECONDS", "0"))
"""How long a hook on CLOSED takes."""

held = []
guests = []
"""The loop and the task of each that leaves when it is told."""


if HOOK_SECONDS:

    @rawsocket.on_state_change(ConnState.CLOSED)
    def take_time(conn, old, new):
        record(hook="begun")
        time.sleep(HOOK_SECONDS)
        record(hook="ended")


@rawsocket.on_state_change(ConnState.CLOSED)
def never_return(conn, old, new):
    if conn.data.get("hangs"):
        threading.Event().wait()


@rawsocket.on_shutdown
def closing_time():
    for loop, task in guests:
        loop.call_soon_threadsafe(task.cancel)
    time.sleep(SECONDS)
    record(told=SECONDS)


async def stay(reader, writer):
    """Serve until cancelled; then say so."""
    writer.write(b"HELLO\n")
    try:
        await reader.read()
    except asyncio.CancelledError:
        writer.write(b"CANCELLED\n")
        raise


async def be_guest(reader, writer):
    guests.append((asyncio.get_running_loop(), asyncio.current_task()))
    await stay(reader, writer)


@app.get("/stay")
def view_of_stay():
    current_conn.hijack_async(stay)
    return ""


@app.get("/guest")
def view_of_guest():
    current_conn.hijack_async(be_guest)
    return ""


@app.get("/thread")
def view_of_thread():
    """Leave the connection to a thread that reads, and closes at the end of the stream."""
    stream = current_conn.hijack()

    def own():
        with stream:
            stream.sendall(b"HELLO\n")
            stream.recv(1)

    threading.Thread(target=own).start()
    return ""


@app.get("/view")
def view():
    """Serve the connection here, and read to the end of the stream."""
    with current_conn.hijack() as stream:
        stream.sendall(b"HELLO\n")
        stream.recv(1)
    return ""


@app.get("/held")
def view_of_held():
    """Leave the connection to nobody who would do anything about it."""
    held.append(current_conn.hijack())
    held[-1].sendall(b"HELLO\n")
    return ""


@app.get("/hang")
def view_of_hang():
    """Have the connection's end never be over; it is hijacked, or kept alive."""
    current_conn.data["hangs"] = True
    if "hijack" in request.args:
        return view_of_held()
    return {"pid": os.getpid()}


@app.get("/long")
def long():
    """Take the seconds that are asked for, and say when it has begun."""
    record(long="begun")
    threading.Event().wait(float(request.args["seconds"]))
    return ""
