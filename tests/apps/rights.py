"""The contract's application with threads that outlive their requests, and handlers' contexts."""

import asyncio
import threading

from flask import copy_current_request_context, current_app, g, has_app_context, request
from taking import app, error, record

from flask_rawsocket import RawSocketError, current_conn

left = threading.Event()
"""Set when the thread that is left over may go on."""
answered = threading.Event()
"""Set when it has been answered."""
RIGHTS = {
    "hijack": lambda conn: conn.hijack(),
    "abort": lambda conn: conn.abort(),
    "set_min_rates": lambda conn: conn.set_min_rates(read=1e9, write=1e9, grace=0),
    "set_deadlines": lambda conn: conn.set_deadlines(read=0.001, write=0.001),
    "close_after_response": lambda conn: conn.close_after_response(),
    "on_disconnect": lambda conn: conn.on_disconnect(lambda: record(called=True)),
    "hijack_async": lambda conn: conn.hijack_async(print),
    "upgrade": lambda conn: conn.upgrade("test"),
}


@app.get("/leave-a-thread")
def leave_a_thread():
    """Leave a thread that asks for a right when the next request is in its view."""
    conn, right = current_conn._get_current_object(), RIGHTS[request.args["right"]]
    left.clear()
    answered.clear()

    @copy_current_request_context
    def ask():
        left.wait(10)
        try:
            right(conn)
            record(asked="allowed")
        except RawSocketError as exc:
            record(asked=error(exc))
        answered.set()

    threading.Thread(target=ask).start()
    return "left"


@app.get("/the-next-one")
def the_next_one():
    """Let the thread of the former request ask, wait for its answer, and answer as ever."""
    left.set()
    answered.wait(10)
    return "undisturbed"


@app.get("/deadlines-between")
def deadlines_between():
    """Set deadlines from a bare thread when this request has ended."""
    conn = current_conn._get_current_object()

    def ask():
        while conn.state.name != "IDLE":
            left.wait(0.001)
        try:
            conn.set_deadlines(read=0.001)
            record(asked="allowed")
        except RawSocketError as exc:
            record(asked=error(exc))
        answered.set()

    left.clear()
    answered.clear()
    threading.Thread(target=ask).start()
    return "later"


@app.get("/context")
def context():
    """Hijack for a handler that says what it sees of this view's context."""
    g.of_the_view = True

    async def handler(reader, writer):
        seen = [has_app_context(), bool(g) if has_app_context() else None]
        task = asyncio.current_task()
        writer.write(f"{seen} {type(task.get_loop()).__name__}\n".encode())

    assert current_app
    current_conn.hijack_async(handler)
    return ""
