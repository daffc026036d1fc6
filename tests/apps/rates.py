"""The contract's application with views that stream in and out, each at its client's pace."""

import tempfile
import threading

from contract import app, record
from flask import Response, request
from werkzeug.wsgi import FileWrapper

from flask_rawsocket import current_conn

__all__ = ["app"]

CHUNK = 10_000


@app.before_request
def set_rates():
    """Lift the rates, or set those that a client has asked for."""
    if "lift" in request.args:
        current_conn.set_min_rates(read=None, write=0)
    if "grace" in request.args:
        current_conn.set_min_rates(read=1e6, write=1e6, grace=float(request.args["grace"]))
    if "small" in request.args:
        current_conn.options.send_buffer = 16384


@app.post("/body")
def body():
    """Read the body in pieces; behind the first one, compute for a while."""
    length = len(request.stream.read(1000))
    if "compute" in request.args:
        record(computing=True)
        threading.Event().wait(float(request.args["compute"]))
        record(reading=True)
    while piece := request.stream.read(1000):
        length += len(piece)
    return {"length": length}


@app.get("/paced")
def paced():
    """Make a body while it is sent."""
    return Response(b"x" * CHUNK for _ in range(int(request.args["chunks"])))


@app.get("/file")
def file():
    """Send a file."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  the server closes it
    file.write(b"x" * CHUNK * int(request.args["chunks"]))
    file.seek(0)
    wrapper = request.environ.get("wsgi.file_wrapper", FileWrapper)
    return Response(wrapper(file), direct_passthrough=True)
