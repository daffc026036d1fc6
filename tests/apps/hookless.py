"""An application without a hook, so that the server has none to run."""

from flask import Flask, request

from flask_rawsocket import RawSocket, current_conn

app = Flask(__name__)
rawsocket = RawSocket(app)


@app.get("/")
def index():
    return {"state": current_conn.state.name, "requests": current_conn.requests}


@app.get("/rest")
def rest():
    """Hijack, and send back what the server had read ahead."""
    with current_conn.hijack() as stream:
        wanted = int(request.args["count"])
        got = b""
        while len(got) < wanted:
            got += stream.recv(65536)
        stream.sendall(got)
    return ""
