"""What every server of ours does with what an application returns."""

from __future__ import annotations

import re

import pytest
from servers import wait_for

APP = """
import logging
import threading

from flask import Flask, abort
from flask_rawsocket import RawSocket

logging.basicConfig(level=logging.WARNING)
logging.getLogger("flask_rawsocket").setLevel(logging.DEBUG)
app = Flask(__name__)
rawsocket = RawSocket(app)

@app.get("/")
def index():
    return "hello"

@app.get("/forgets", endpoint="forgetful")
def forgets():
    rawsocket.current_conn.hijack()
    return "nobody gets this"

@app.get("/forgets-a-stream")
def forgets_a_stream():
    rawsocket.current_conn.hijack()
    return iter(["nobody ", "gets this"])

@app.get("/drops")
def drops():
    with rawsocket.current_conn.hijack() as stream:
        stream.sendall(b"by the stream")
    return "nobody gets this"

@app.get("/keeps")
def keeps():
    def serve(stream):
        with stream:
            stream.sendall(stream.recv(100))

    threading.Thread(target=serve, args=(rawsocket.current_conn.hijack(),)).start()
    return "nobody gets this"

@app.get("/loop")
def loop():
    async def serve(reader, writer):
        writer.write(await reader.read(100))

    rawsocket.current_conn.hijack_async(serve)
    return "nobody gets this"

@app.get("/fails")
def fails():
    stream = rawsocket.current_conn.hijack()
    raise ValueError("after the hijack")

@app.get("/aborts")
def aborts():
    stream = rawsocket.current_conn.hijack()
    abort(404)

@app.get("/returns")
def returns():
    return rawsocket.current_conn.hijack()

@app.get("/knows")
def knows():
    with rawsocket.current_conn.hijack() as stream:
        stream.sendall(b"by the stream")
    return ""
"""
DROPPED = "was hijacked: the view's response, 16 bytes, is dropped"
THROWN_AWAY = r"The view (\S+) has thrown away what hijack\(\) returned"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the application is."""
    folder = tmp_path_factory.mktemp("hijacking")
    (folder / "hijacking.py").write_text(APP)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["werkzeug", "sync", "gthread"])
def test_a_response_that_is_dropped(run_server, folder, transport, name):
    """The log names the view that throws its stream away; of others, who debugs is told."""
    env = {"PYTHONPATH": str(folder)}
    with run_server(name, transport, app="hijacking:app", env=env) as server:
        for path in ["/knows", "/drops"]:
            with server.connect() as client:
                client.get(path)
                assert client.rest() == b"by the stream"
        for path in ["/keeps", "/loop"]:
            with server.connect() as client:
                client.get(path)
                client.send(b"hello")
                assert client.rest() == b"hello"
        wait_for(lambda: server.log.read_text().count(DROPPED) == 3, "the lines in the log")
        assert not re.search(THROWN_AWAY, server.log.read_text())
        for path in ["/forgets", "/forgets-a-stream"]:
            with server.connect() as client:
                client.get(path)
                assert client.rest() == b""
        wait_for(
            lambda: (
                re.findall(THROWN_AWAY, server.log.read_text()) == ["forgetful", "forgets_a_stream"]
            ),
            "the names in the log",
        )
        assert server.log.read_text().count(DROPPED) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["werkzeug", "sync", "gthread"])
def test_a_view_that_fails_after_the_hijack(run_server, folder, transport, name):
    """Its exception holds the stream; the client does not wait for the garbage collector."""
    env = {"PYTHONPATH": str(folder)}
    with run_server(name, transport, app="hijacking:app", env=env) as server:
        views = ["fails", "aborts", "returns"] * 2
        for view in views:
            with server.connect() as client:
                client.get(f"/{view}")
                assert client.rest() == b""
        wait_for(
            lambda: re.findall(THROWN_AWAY, server.log.read_text()) == views,
            "the names in the log",
        )
