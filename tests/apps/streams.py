"""The contract's application with views for HTTP/2."""

from contract import app, record
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
