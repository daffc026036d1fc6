"""The contract's application with views for HTTP/2."""

from contract import app
from flask import request

from flask_rawsocket import RawSocketError, current_conn


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
