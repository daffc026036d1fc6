"""`ending`'s application with views whose requests and responses are not what their heads say."""

import socket
import struct
import tempfile

from contract import record
from ending import app, wait_until
from flask import Response, request
from taking import error
from werkzeug.wsgi import FileWrapper

from flask_rawsocket import RawSocketError, current_conn

__all__ = ["app"]


@app.before_request
def be_quick():
    """Set the read deadline that a client has asked for."""
    if "X-Read-Deadline" in request.headers:
        current_conn.set_deadlines(read=float(request.headers["X-Read-Deadline"]))


@app.post("/body-again")
def body_again():
    """Read the body, and again when that has failed; record what came of both."""
    found = []
    for _ in range(2):
        try:
            found.append(len(request.environ["wsgi.input"].read()))
        except Exception as exc:  # noqa: BLE001
            found.append(type(exc).__name__)
        current_conn.set_deadlines(read=None)
    try:
        current_conn.hijack()
    except RawSocketError as exc:
        found.append(type(exc).__name__)
    record(found=found)
    return {}


@app.post("/lines-again")
def lines_again():
    """Read the body's lines, and again when that has failed; record what came of both."""
    found = []
    for _ in range(2):
        try:
            found.append(b"".join(request.environ["wsgi.input"].readlines()).decode())
        except Exception as exc:  # noqa: BLE001
            found.append(type(exc).__name__)
            record(failed=found[0])
        current_conn.set_deadlines(read=None)
    record(found=found)
    return {}


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


@app.route("/short")
def short():
    """Say that the body has 100 bytes, and give fewer."""
    count = int(request.args["count"])
    body = (b"x" for _ in range(count)) if "stream" in request.args else b"x" * count
    response = Response(body)
    response.headers["Content-Length"] = "100"
    response.status_code = int(request.args.get("status", 200))
    return response


@app.get("/short-file")
def short_file():
    """Send a file of which less is left than the head says."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  the server closes it
    file.write(b"x" * 50)
    file.seek(int(request.args["start"]))
    wrapper = request.environ.get("wsgi.file_wrapper", FileWrapper)
    response = Response(wrapper(file), direct_passthrough=True)
    response.headers["Content-Length"] = request.args.get("length", "50")
    return response


@app.route("/own-headers", methods=["GET", "POST"])
def own_headers():
    """Say of the connection what the client wants said."""
    return Response("said", headers=[("Connection", request.args["say"])])


@app.post("/unread-stream")
def unread_stream():
    """Stream, and read so much of the body before."""
    got = len(request.stream.read(int(request.args["read"])))
    return Response(b"%d" % each for each in (got, 2, 3))


@app.get("/settimeout")
def settimeout():
    """Do to the socket what one may do to a socket of one's own; tell what it was like."""
    sock = current_conn.sock
    before = sock.gettimeout()
    sock.settimeout(float(request.args["seconds"]))
    if "linger" in request.args:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 20))
    return {"before": before}
