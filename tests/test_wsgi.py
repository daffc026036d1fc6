"""What every server of ours does with what an application returns."""

from __future__ import annotations

import pytest
from servers import wait_for

APP = """
import logging

from flask import Flask
from flask_rawsocket import RawSocket

logging.basicConfig(level=logging.WARNING)
logging.getLogger("flask_rawsocket").setLevel(logging.DEBUG)
app = Flask(__name__)
rawsocket = RawSocket(app)

@app.get("/")
def index():
    return "hello"

@app.get("/forgets")
def forgets():
    rawsocket.current_conn.hijack()
    return "nobody gets this"

@app.get("/knows")
def knows():
    with rawsocket.current_conn.hijack() as stream:
        stream.sendall(b"by the stream")
    return ""
"""


@pytest.mark.parametrize("name", ["werkzeug", "sync", "gthread"])
def test_a_response_that_is_dropped(run_server, tmp_path, name):
    """The log of who debugs says what has become of it; where nothing is dropped, nothing."""
    (tmp_path / "hijacking.py").write_text(APP)
    with run_server(name, app="hijacking:app", env={"PYTHONPATH": str(tmp_path)}) as server:
        with server.connect() as client:
            client.get("/knows")
            assert client.rest() == b"by the stream"
        with server.connect() as client:
            client.get("/forgets")
            assert client.rest() == b""
        text = "was hijacked: the view's response, 16 bytes, is dropped"
        wait_for(lambda: text in server.log.read_text(), "the line in the log")
        assert server.log.read_text().count("was hijacked") == 1
