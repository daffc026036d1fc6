"""`taking`'s application with views that end or forget their connection, or fail, amid things."""

import gc
import select
import socket
import sys
import threading
import wsgiref.validate

from contract import app, rawsocket, record
from flask import Response, request, stream_with_context
from taking import error, say_and_close

from flask_rawsocket import ConnState, RawSocketError, current_conn, sockinfo
from flask_rawsocket._connection.connection import life_of

__all__ = ["app"]

pause = threading.Event()
"""Never set: to wait for a moment."""


def wait_until(condition):
    """Wait until `condition` gives something true, but not for ever; give what it gave."""
    for _ in range(500):
        if found := condition():
            return found
        pause.wait(0.01)
    return None


banned = []
"""As many as there are in it: so many of the next connections are aborted when they are NEW."""

aborted = threading.Event()
held = {}
stuck = []


@rawsocket.on_state_change(ConnState.NEW)
def ban(conn, old, new):
    """Abort a connection on which something has come already."""
    if banned:
        banned.pop()
        came = wait_until(
            lambda: conn.state is not ConnState.NEW or sockinfo.queues(conn.sock).receive
        )
        conn.abort()
        record(banned=conn.id, came=bool(came))


@app.get("/ban")
def ban_the_next():
    banned.append(True)
    return ""


@app.get("/abort-midway")
def abort_midway():
    """Begin a response; abort, or wait until another request has done that; go on all the same."""
    conn = current_conn._get_current_object()

    def chunks():
        yield b"one"
        if "waiting" in request.args:
            record(streaming=conn.id)
            aborted.wait(10)
            aborted.clear()
        else:
            conn.abort()
        record(going_on=True)
        yield b"two"

    return Response(stream_with_context(chunks()))


@app.get("/abort-another")
def abort_another():
    """Abort; with `full`, once there is no room for more: its client does not read."""
    conn = rawsocket.connections.by_id(int(request.args["id"]))
    if "full" in request.args:
        wait_until(lambda: not select.select([], [conn.sock], [], 0)[1])
    conn.abort()
    aborted.set()
    return ""


@app.get("/block")
def block():
    """Take over; the owner's thread reads, of which nothing comes."""
    conn = current_conn._get_current_object()
    stream = conn.hijack()

    def own():
        stream.sendall(b"HELLO\n")
        try:
            record(owner=repr(stream.recv(100)))
        except (RawSocketError, OSError, ValueError) as exc:
            record(owner=type(exc).__name__)

    thread = threading.Thread(target=own)
    held.update(close=stream.close, abort=conn.abort, thread=thread)
    thread.start()
    return ""


def calls(thread):
    """Give the names of the functions that `thread` is in."""
    frame, names = sys._current_frames().get(thread.ident), set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names


@app.get("/unblock")
def unblock():
    """End that connection from here, once its owner's thread is in recv()."""
    wait_until(lambda: calls(held["thread"]) & {"recv", "read"})
    held[request.args["how"]]()
    return ""


@app.get("/forget")
def forget():
    """Take over, and keep nothing of it."""
    current_conn.hijack()
    return ""


@app.get("/collect")
def collect():
    gc.collect()
    return ""


@app.get("/forget-and-fail")
def forget_and_fail():
    """Take over and fail; an exception that Flask has handled is garbage that is in a cycle."""
    stream = current_conn.hijack()
    raise ValueError(f"a view that forgets {stream}")


@app.get("/never-close")
def never_close():
    """Take over, keep the stream, and do nothing with it whatever happens."""
    stream = current_conn.hijack()
    stuck.append(stream)
    stream.sendall(b"HELLO\n")
    return ""


@app.get("/let-go")
def let_go():
    """Close what `/never-close` has kept."""
    while stuck:
        stuck.pop().close()
    return ""


@app.get("/close-its-socket")
def close_its_socket():
    """Take over, and close the real socket, which is the owner's, before the view returns."""
    stream = current_conn.hijack()
    stream.sendall(b"HELLO\n")
    stream.sock.close()
    return ""


@app.get("/call-on-close")
def call_on_close():
    """Take over, and return a response whose close() fails."""
    stream = current_conn.hijack()
    threading.Thread(target=say_and_close, args=(stream,)).start()
    response = Response("this is dropped")

    @response.call_on_close
    def fails():
        raise ValueError("a response that fails when it is closed")

    return response


EXITS = {each.__name__: each for each in (SystemExit, KeyboardInterrupt, GeneratorExit)}


@app.get("/exits")
def exits():
    """Raise what is no Exception: before the response, amid it, or after a hijack."""
    kind, when = EXITS[request.args["kind"]], request.args["when"]

    def chunks():
        yield b"begun"
        raise kind(f"{when} the response")

    if when == "amid":
        return Response(chunks())
    if when == "after":
        stream = current_conn.hijack()
        threading.Thread(target=say_and_close, args=(stream,)).start()
    raise kind(f"{when} the response")


@app.get("/upstream")
def upstream():
    """Fail amid the response as if this client had gone, while it is another's doing."""

    def chunks():
        yield b"x" * 10
        raise ConnectionResetError("somebody else has reset a connection")

    return Response(chunks())


@app.post("/stream-body")
def stream_body():
    """Read the body amid the response."""

    def chunks():
        yield b"begun;"
        yield b"body=%s" % request.stream.read()

    return Response(stream_with_context(chunks()))


@app.get("/environ")
def environ():
    """Tell what `wsgiref.validate` has to say against the environ."""
    try:
        wsgiref.validate.check_environ(dict(request.environ))
    except AssertionError as exc:
        return {"complaint": str(exc)}
    return {"complaint": None}


@app.post("/late-body")
def late_body():
    """Read a body that does not come whole before its deadline; then take over."""
    current_conn.set_deadlines(read=0.2)
    try:
        getattr(request.stream, request.args["by"])()
    except TimeoutError:
        with current_conn.hijack() as stream:
            stream.sendall(b"%d %s" % (len(stream.leading_bytes), stream.leading_bytes))
    return ""


@app.post("/amid-body")
def amid_body():
    """Take over when so much of the body has been read; where that is refused, say how."""
    request.environ["wsgi.input"].read(int(request.args["read"]))
    try:
        with current_conn.hijack() as stream:
            stream.sendall(b"taken, and then " + stream.leading_bytes)
    except RawSocketError as exc:
        return error(exc)
    return ""


@app.get("/owner-deadline")
def owner_deadline():
    """Take over and set a deadline in the view; its thread reads when the request has ended."""
    conn = current_conn._get_current_object()
    stream = conn.hijack()
    conn.set_deadlines(read=0.3)

    def own():
        with stream:
            wait_until(lambda: life_of(conn).exchange is None)
            record(deadline_kept=stream.sock.duties.read is not None)
            try:
                record(owner=repr(stream.recv(100)))
            except TimeoutError as exc:
                record(owner=type(exc).__name__)

    threading.Thread(target=own).start()
    return ""


@app.get("/default-timeout")
def default_timeout():
    """Give every socket that is made from here on a timeout, or none again."""
    socket.setdefaulttimeout(request.args.get("seconds", type=float))
    return ""


@app.get("/timeout")
def timeout():
    """Take over, and tell the timeout of the stream."""
    with current_conn.hijack() as stream:
        stream.sendall(b"%r" % stream.sock.gettimeout())
    return ""
