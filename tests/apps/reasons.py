"""`framing`'s application with what ends connections for each of the reasons."""

import threading

from flask import Response
from framing import app

from flask_rawsocket import current_conn

__all__ = ["app"]


@app.get("/reason-write-deadline")
def reason_write_deadline():
    """Send more than the peer reads, by a deadline."""
    current_conn.options.send_buffer = 16384
    current_conn.set_deadlines(write=0.3)
    return endless()


@app.get("/reason-endless")
def reason_endless_response():
    current_conn.options.send_buffer = 16384
    return endless()


@app.get("/reason-lost")
def reason_lost():
    """Send more than the peer reads, and have the kernel give it up."""
    current_conn.set_min_rates(write=None)
    current_conn.options.send_buffer = 16384
    current_conn.options.user_timeout = 0.5
    return endless()


def endless():
    return Response((b"x" * 65536 for _ in range(1000)), mimetype="text/plain")


@app.get("/reason-forget")
def reason_forget():
    current_conn.hijack()
    return ""


@app.get("/reason-keep")
def reason_keep():
    """Hijack, and close only when the server stops."""
    stream = current_conn.hijack()
    stream.sendall(b"HELLO\n")
    threading.Thread(target=stream.recv, args=(1,), daemon=True).start()
    app.extensions.setdefault("kept", []).append(stream)
    return ""


@app.get("/reason-close-it")
def reason_close_it():
    current_conn.hijack().close()
    return ""


@app.get("/reason-abort-it")
def reason_abort_it():
    current_conn.abort()
    return ""


class FailingEarly:
    """A middleware that fails where Flask would answer with a 500."""

    def __init__(self, wsgi_app):
        self.wsgi_app = wsgi_app

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/fail-early":
            raise LookupError("an application that fails before its response")
        return self.wsgi_app(environ, start_response)


app.wsgi_app = FailingEarly(app.wsgi_app)
