"""The contract's application with views for HTTP/2."""

import asyncio
import threading
import time

from contract import app, rawsocket, record
from flask import request

from flask_rawsocket import RawSocketError, current_conn
from flask_rawsocket._tracking.tracker import process_tracker


@app.get("/try")
def attempt():
    """Ask for what HTTP/2 does not allow."""
    try:
        getattr(current_conn, request.args["what"])()
    except RawSocketError as exc:
        return f"{type(exc).__name__}: {exc}"
    return "allowed"


@app.get("/deadline")
def deadline():
    """Give reading a fifth of a second."""
    current_conn.set_deadlines(read=0.2)
    return "soon"


@app.get("/watch-this")
def watch_this():
    """Want to hear when the client is gone."""
    current_conn.on_disconnect(lambda: record(gone=True))
    return "watched"


@app.get("/watches")
def watches():
    """Say how many watches there are."""
    return str(len(process_tracker._watcher))


LONGEST = 45.0
"""Seconds after which a view gives up that nobody stops: no test waits for so long."""


@app.get("/ask")
def ask():
    """Ask again and again whether the client is there; say when it is not."""
    if "read" in request.args:
        current_conn.set_deadlines(read=float(request.args["read"]))
    current_conn.on_disconnect(lambda: record(told=True))
    until = time.monotonic() + LONGEST
    record(began="ask")
    while not current_conn.is_disconnected() and time.monotonic() < until:
        time.sleep(0.005)
    record(stopped="ask", at=time.monotonic())
    if "after" in request.args:
        current_conn.on_disconnect(lambda: record(told_after=True))
        record(waited=current_conn.wait_disconnected(LONGEST))
    return "stopped"


@app.get("/checkpoints")
@rawsocket.stop_when_disconnected()
def checkpoints():
    """Stop at the first checkpoint where the client is gone."""
    until = time.monotonic() + LONGEST
    record(began="checkpoints")
    try:
        while time.monotonic() < until:
            rawsocket.checkpoint()
            time.sleep(0.005)
    finally:
        record(stopped="checkpoints", at=time.monotonic())
    return "stopped"


@app.get("/until")
def until():
    """Send small items until the client is gone."""

    def items():
        record(began="until")
        try:
            for number in range(int(LONGEST / 0.005)):
                yield f"{number}\n"
                time.sleep(0.005)
        finally:
            record(stopped="until", at=time.monotonic())

    return app.response_class(rawsocket.until_disconnected(items()), mimetype="text/plain")


@app.get("/events")
def events():
    """Send so many events, or silence."""
    count, is_silent = int(request.args.get("n", 0)), "silent" in request.args

    async def source():
        record(began="events")
        try:
            for number in range(count):
                yield {"number": number}
            if is_silent:
                await asyncio.sleep(LONGEST)
        finally:
            record(stopped="events", at=time.monotonic())

    return rawsocket.events(source())


@app.post("/asked-body")
def asked_body():
    """Ask whether the client is there while its body comes."""
    record(began="asked-body")
    for _ in range(20):
        assert not current_conn.is_disconnected()
        time.sleep(0.005)
    return request.get_data()


@app.get("/abort")
def abort():
    """Abort this stream, and perhaps go on asking; what is returned is for nobody."""
    current_conn.on_disconnect(lambda: record(told=True))
    current_conn.abort()
    record(aborted=True)
    until = time.monotonic() + LONGEST
    while "ask" in request.args and not go_on.is_set() and time.monotonic() < until:
        current_conn.is_disconnected()
        time.sleep(0.005)
    return "aborted"


go_on = threading.Event()


@app.get("/go-on")
def let_go_on():
    """End the asking of `abort`."""
    go_on.set()
    return "yes"


@app.post("/read-body")
def read_body():
    """Read the body, perhaps before a deadline; say what that raises, and a further read."""
    if "read" in request.args:
        current_conn.set_deadlines(read=float(request.args["read"]))
    current_conn.on_disconnect(lambda: record(told=True))
    record(began="read-body")
    try:
        return request.get_data()
    except Exception as exc:
        again = None
        try:
            request.stream.read()
        except Exception as other:  # noqa: BLE001  whatever it is
            again = type(other).__name__
        record(stopped="read-body", error=type(exc).__name__, again=again)
        raise


@app.get("/endless")
def endless():
    """Send more than anybody reads."""
    current_conn.on_disconnect(lambda: record(told=True))

    def items():
        try:
            for _ in range(10_000):
                yield "x" * 1000
        finally:
            record(stopped="endless")

    return app.response_class(items())


@app.get("/exit")
def leave():
    """Do what ends a process elsewhere."""
    raise SystemExit(1)


@app.get("/close-big")
def close_big():
    """Send much, as the last response."""
    current_conn.close_after_response()
    return "x" * int(request.args["size"])


@app.get("/abort-midway")
def abort_midway():
    """Abort it when a part of the response is out."""
    conn = rawsocket.current_conn

    def items():
        yield "a part"
        conn.abort()
        yield "another"

    return app.response_class(items())


@app.get("/other-thread")
def other_thread():
    """Ask in a thread of one's own, which reads nothing."""
    conn, answers = rawsocket.current_conn, []
    thread = threading.Thread(target=lambda: answers.append(conn.is_disconnected()))
    thread.start()
    thread.join()
    return {"gone": answers[0]}
