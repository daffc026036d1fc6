"""The contract's application as a proxy's clients use it: who they are, and what they stay for."""

import os

from contract import app, rawsocket, record
from flask import request
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_rawsocket import current_conn

if os.environ.get("FRONTS_PROXY_FIX"):
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)


@app.get("/who")
def who():
    """Say whose address is where."""
    proxy = current_conn.proxy
    return {
        "key": current_conn.key,
        "proxy": proxy and proxy.source,
        "remote_addr": request.remote_addr,
        "remote_port": request.environ.get("REMOTE_PORT"),
        "access_route": list(request.access_route),
        "scheme": request.scheme,
        "peer": current_conn.is_unix and current_conn.peer_credentials().pid,
        "requests": current_conn.requests,
    }


@app.get("/echo", websocket=True)
def echo():
    """Send every message back."""
    return rawsocket.websocket(send_back)


async def send_back(ws):
    async for message in ws:
        await ws.send(message)


steps = rawsocket.group("steps")


@app.get("/events")
def events():
    """Tell of each step."""
    return rawsocket.events(told())


async def told():
    """Record that the client has left, when it has."""
    yield "welcome"
    try:
        async for step in steps.join():
            yield step
    finally:
        record(left=True)


@app.get("/members")
def members():
    """Say how many hear of steps."""
    return str(len(steps))


@app.post("/step")
def step():
    """Make a step."""
    steps.send(request.get_data(as_text=True))
    return "made"


@app.get("/wait")
def wait():
    """Wait until the client leaves."""
    record(waiting=True)
    left = current_conn.wait_disconnected(20)
    record(left=left)
    return "?"
