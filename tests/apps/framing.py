"""`ending`'s application with views whose requests and responses are not what their heads say."""

from contract import record
from ending import app, wait_until
from flask import request
from taking import error

from flask_rawsocket import RawSocketError, current_conn

__all__ = ["app"]


@app.before_request
def be_quick():
    """Set the read deadline that a client has asked for."""
    if "X-Read-Deadline" in request.headers:
        current_conn.set_deadlines(read=float(request.headers["X-Read-Deadline"]))


@app.post("/body")
def body():
    """Read the body, in one of the ways there are; record what was raised."""
    try:
        if request.args.get("by") == "lines":
            got = b"".join(request.environ["wsgi.input"])
        elif request.args.get("by") == "pieces":
            got = b"".join(iter(lambda: request.stream.read(1000), b""))
        else:
            got = request.get_data()
    except Exception as exc:
        record(body=[each.__name__ for each in type(exc).__mro__], code=getattr(exc, "code", None))
        raise
    record(body=len(got))
    return {"length": len(got)}


@app.post("/unread-but-there")
def unread_but_there():
    """Read nothing of a body, of which a part has come behind the head."""
    conn = current_conn._get_current_object()
    record(unread=conn.id)
    return {"came": bool(wait_until(lambda: conn.queues().receive))}


@app.get("/say-101")
def say_101():
    """Answer 101; the owner says hello."""
    try:
        with current_conn.upgrade("echo") as stream:
            stream.sendall(b"HELLO")
    except RawSocketError as exc:
        return error(exc)
    return ""


@app.get("/say-101-async")
def say_101_async():
    """Likewise, on the event loop."""

    async def handler(reader, writer):
        writer.write(b"HELLO")

    try:
        current_conn.hijack_async(handler, protocol="echo")
    except RawSocketError as exc:
        return error(exc)
    return ""
