"""The contract's application with long answers, complete and not."""

import contextlib
import io
import os
import resource
import tempfile

from flask import Response, request, send_file
from handling import app

from flask_rawsocket import current_conn

__all__ = ["app"]

PIECE = bytes(range(256)) * 256
PIECES = 256


@app.before_request
def set_up():
    """Have a small buffer in the kernel, and the deadline that a client has asked for."""
    if request.path.startswith("/long"):
        current_conn.options.send_buffer = 131072
    if "deadline" in request.args:
        current_conn.set_deadlines(write=float(request.args["deadline"]))


@app.get("/long/bytes")
def long_bytes():
    """Answer with 16 MiB in one piece."""
    return Response(PIECE * PIECES)


@app.get("/long/list")
def long_list():
    """Answer with a list, the last of which is the longest."""
    return Response([PIECE] * 8 + [PIECE * (PIECES - 8)])


@app.get("/long/file")
def long_file():
    """Answer with a file, which the kernel may send."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  the server closes it
    file.write(PIECE * PIECES)
    file.seek(0)
    return send_file(file, mimetype="application/octet-stream", conditional=False)


class LastFile(io.FileIO):
    """A file, and no descriptor is left until it is closed."""

    def __init__(self, name):
        super().__init__(name)
        self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(self.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, self.limits[1]))

    def close(self):
        """Close it, and lift the limit."""
        resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)
        super().close()


@app.get("/long/last-descriptor")
def long_last_descriptor():
    """Answer with a file that has the last descriptor; its length is said."""
    written, name = tempfile.mkstemp()
    os.write(written, PIECE)
    os.close(written)
    file = LastFile(name)
    os.unlink(name)
    with contextlib.suppress(OSError):
        os.close(os.dup(file.fileno()))
        raise AssertionError("there is a descriptor left")
    return send_file(file, mimetype="application/octet-stream", conditional=False)


@app.get("/long/memory")
def long_memory():
    """Answer with a file that has no descriptor."""
    return send_file(io.BytesIO(PIECE), mimetype="application/octet-stream")


@app.get("/long/generator")
def long_generator():
    """Make an answer while it is sent."""
    return Response(PIECE for _ in range(PIECES))
